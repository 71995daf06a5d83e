"""Several hosts: what is lost when one of three fails, and what one and three carry.

Each host is a network namespace with a fibserver and a fibweb; load comes from a fourth. While it
runs, a host is killed (`kill -9` of its servers, which are started again later) or cut off (its
packets are dropped, and let through again later). Needs root, for the namespaces.

Nothing here judges; the exit code is 0.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click
from hosts import SERVICE, Host, Network, network
from servers import ROOT
from side_by_side import machine

__all__ = ["main"]

CARRY_SECONDS = 4
RPC_PORT, HTTP_PORT = 11235, 8080
BALANCED_RPC, BALANCED_HTTP = "127.0.0.1:11235", "127.0.0.1:8000"
DEPLOY = ROOT / "deploy" / "haproxy"


class Arrangement(NamedTuple):
    """A way to reach several hosts.

    Attributes:
        name: what the table calls it.
        kind: of load: rpc or http.
        target: what the clients are told.
    """

    name: str
    kind: str
    target: str


class Servers:
    """The servers of a host, which can be killed and started again."""

    def __init__(self, host: Host) -> None:
        """Start them."""
        self.host = host
        self.start()

    def start(self) -> None:
        """Start them, and wait until they answer."""
        self._stack = ExitStack()
        python = [sys.executable, "-m"]
        server = [*python, "fibserver", "--workers", "1"]
        server += ["--listen", f"{self.host.address}:{RPC_PORT}"]
        listen = ["--listen", f"{self.host.address}:{HTTP_PORT}"]
        web = [*python, "fibweb", *listen, "--servers", f"{self.host.address}:{RPC_PORT}"]
        os.environ["FIBSERVER_ALLOW_UNAUTHENTICATED"] = "true"
        self._stack.enter_context(self.host.running(*server, ready="ready on"))
        self._stack.enter_context(self.host.running(*web, ready="ready on"))

    def kill(self) -> None:
        """Kill them, without a chance to say anything."""
        self._stack.close()


@contextmanager
def _balanced(net: Network) -> Iterator[None]:
    """Run HAProxy on the client's host, in front of fibservers and of fibwebs."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with ExitStack() as stack:
        for name, bind, port in (
            ("fibserver", BALANCED_RPC, RPC_PORT),
            ("fibweb", BALANCED_HTTP, HTTP_PORT),
        ):
            variables = {f"FIB_{h.name.upper()}": f"{h.address}:{port}" for h in net.hosts}
            control = Path(f"/run/{name}-{os.getpid()}.sock")
            stack.callback(control.unlink, missing_ok=True)
            variables |= {"FIB_BIND": bind, "FIB_SOCKET": str(control)}
            words = [f"{key}={value}" for key, value in variables.items()]
            command = ["env", *words, program, "-db", "-V", "-f", str(DEPLOY / f"{name}.cfg")]
            stack.enter_context(net.client.running(*command, ready="Available polling"))
        yield


def _faults(servers: list[Servers]) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    first, second = servers[0], servers[1]
    return {
        "killed": (first.kill, first.start),
        "cut off": (second.host.pull, second.host.plug),
    }


def _under_fault(
    net: Network,
    arrangement: Arrangement,
    begin: Callable[[], None],
    end: Callable[[], None],
    seconds: float,
) -> dict[str, Any]:
    """Return what the clients of an arrangement saw while a host failed and came back."""
    load = [sys.executable, str(ROOT / "bench" / "host_load.py"), arrangement.kind]
    command = net.client.command(*load, arrangement.target, str(seconds))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        if child.stdout.readline() != "asking\n":
            raise click.ClickException(f"{arrangement.name}: the clients did not start")
        time.sleep(seconds / 6)
        begin()
        time.sleep(seconds / 3)
        end()
        report: dict[str, Any] = json.loads(child.stdout.readline())
    return report


def _carried(net: Network) -> dict[str, float]:
    """Return what the hosts carry that there are at the moment: requests/s, by kind."""
    found = {}
    for n in (10, 1000, 10_000):
        command = ["wrk", "-t1", "-c32", f"-d{CARRY_SECONDS}s", f"http://{BALANCED_HTTP}/fib/{n}"]
        text = subprocess.run(
            net.client.command(*command), stdout=subprocess.PIPE, text=True, check=True, timeout=60
        ).stdout
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        found[f"HAProxy, fibweb, N={n}"] = float(rate[1]) if rate else float("nan")
    command = ["redis-benchmark", "-p", str(RPC_PORT), "-c", "32", "-n", "60000", "-q"]
    command += ["FIB.FIRST", "10"]
    text = subprocess.run(
        net.client.command(*command), stdout=subprocess.PIPE, text=True, check=True, timeout=120
    ).stdout
    rate = re.search(r"([\d.]+) requests per second", text)
    found["HAProxy, fibserver, N=10"] = float(rate[1]) if rate else float("nan")
    return found


def _print_faults(rows: list[dict[str, Any]]) -> None:
    names = (
        "arrangement",
        "fault",
        "requests",
        "lost",
        "wrong",
        "> 1 s",
        "p50 ms",
        "p99 ms",
        "worst",
    )
    layout = "{:<34}{:<9}{:>9}{:>6}{:>7}{:>7}{:>8}{:>8}{:>8}"
    click.echo(layout.format(*names))
    for row in rows:
        counts = (row["requests"], row["lost"], row["wrong"], row["slow"])
        times = (f"{row[name]:.1f}" for name in ("p50_ms", "p99_ms", "worst_ms"))
        click.echo(layout.format(row["arrangement"], row["fault"], *counts, *times))
        for error in row["errors"]:
            click.echo(f"    {error[:150]}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=12.0, show_default=True, help="For each fault.")
@click.option("--faults-only", is_flag=True, help="Leave out what hosts carry.")
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures there.")
def main(seconds: float, faults_only: bool, report: TextIO | None) -> None:
    """Measure what several hosts are good for."""
    rows: list[dict[str, Any]] = []
    carried: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        net = stack.enter_context(network())
        servers = [Servers(host) for host in net.hosts]
        for each in servers:
            stack.callback(each.kill)
        stack.enter_context(_balanced(net))
        listed = ",".join(f"{host.address}:{RPC_PORT}" for host in net.hosts)
        arrangements = [
            Arrangement("fibclient, a list", "rpc", listed),
            Arrangement("fibclient, a name", "rpc", f"{SERVICE}:{RPC_PORT}"),
            Arrangement("HAProxy, fibservers", "rpc", BALANCED_RPC),
            Arrangement("HAProxy, fibwebs", "http", BALANCED_HTTP),
        ]
        for arrangement in arrangements:
            for fault, (begin, end) in _faults(servers).items():
                found = _under_fault(net, arrangement, begin, end, seconds)
                rows.append({"arrangement": arrangement.name, "fault": fault} | found)
        if not faults_only:
            carried["three hosts"] = _carried(net)
            for each in servers[1:]:
                each.kill()
            time.sleep(3)  # HAProxy has noticed
            carried["one host"] = _carried(net)
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()))
    _print_faults(rows)
    for hosts, rates in carried.items():
        for kind, rate in rates.items():
            click.echo(f"{hosts}, {kind}: {rate:,.0f} requests/s")
    if report:
        json.dump({"machine": machine(), "faults": rows, "carried": carried}, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
