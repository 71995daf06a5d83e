"""Several hosts: what is lost when one of three fails, and what one and three carry.

Each host is a network namespace with a fibserver and a fibweb; load comes from a fourth. While it
runs, a host is killed (`kill -9` of its servers, which are started again later) or cut off (its
packets are dropped, and let through again later). Then it is measured what three carry, and one.
Needs root, for the namespaces.

Nothing here judges; the exit code is 0.
"""

import csv
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click
from capacity import Carried, Door, as_json, carried, print_carried
from hosts import SERVICE, Host, Network, network
from servers import ROOT
from side_by_side import machine

__all__ = ["main"]

RPC_PORT, HTTP_PORT = 11235, 8080
BALANCED_RPC, BALANCED_HTTP, CACHED = "127.0.0.1:11235", "127.0.0.1:8000", "127.0.0.1:8001"
DEPLOY = ROOT / "deploy"
RETURN_SECONDS = 20
"""Far above anything seen."""

NEEDED = {"ip": "iproute2", "haproxy": "haproxy"}
NEEDED_TO_CARRY = {"wrk": "wrk", "redis-benchmark": "redis-tools", "nginx": "nginx-light"}
"""Programs, and the Debian packages that have them."""

NGINX = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/fib.conf;
}}
"""


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
    """The servers of a host, which can be killed and started again.

    Attributes:
        host: where they run.
        processes: those of the servers, by the name of their program.
    """

    def __init__(self, host: Host) -> None:
        """Prepare to start them; `kill` ends those that run, whatever has failed."""
        self.host = host
        self._stack = ExitStack()

    def start(self) -> None:
        """Start them, and wait until they answer."""
        python = [sys.executable, "-m"]
        server = [*python, "fibserver", "--workers", "1"]
        server += ["--listen", f"{self.host.address}:{RPC_PORT}"]
        listen = ["--listen", f"{self.host.address}:{HTTP_PORT}"]
        web = [*python, "fibweb", *listen, "--servers", f"{self.host.address}:{RPC_PORT}"]
        os.environ["FIBSERVER_ALLOW_UNAUTHENTICATED"] = "true"
        self.processes = {
            name: self._stack.enter_context(self.host.running(*command, ready="ready on"))
            for name, command in (("fibserver", server), ("fibweb", web))
        }

    def kill(self) -> None:
        """Kill them, without a chance to say anything."""
        self._stack.close()


class Balancers:
    """HAProxy on the client's host, in front of fibservers and of fibwebs.

    Attributes:
        processes: both.
    """

    def __init__(self, net: Network, stack: ExitStack) -> None:
        """Start them, until the stack ends."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-haproxy-")))
        self._controls: dict[str, Path] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        for name, bind, port in (
            ("fibserver", BALANCED_RPC, RPC_PORT),
            ("fibweb", BALANCED_HTTP, HTTP_PORT),
        ):
            variables = {f"FIB_{h.name.upper()}": f"{h.address}:{port}" for h in net.hosts}
            self._controls[bind] = folder / name
            variables |= {"FIB_BIND": bind, "FIB_SOCKET": str(folder / name)}
            words = [f"{key}={value}" for key, value in variables.items()]
            path = DEPLOY / "haproxy" / f"{name}.cfg"
            command = ["env", *words, _path("haproxy"), "-db", "-V", "-f", str(path)]
            running = net.client.running(*command, ready="Available polling")
            self.processes.append(stack.enter_context(running))

    def wait_for(self, bind: str, count: int) -> int:
        """Return how many servers get requests, once they are so many or that takes too long."""
        deadline = time.monotonic() + RETURN_SECONDS
        while (found := self._up(bind)) != count and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _up(self, bind: str) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._controls[bind]))
            control.sendall(b"show stat\n")
            text = control.makefile("r").read()
        rows = csv.DictReader(text.strip().removeprefix("# ").splitlines())
        servers = [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]
        return sum(row["status"] == "UP" for row in servers)


@contextmanager
def _caching(net: Network) -> Iterator["subprocess.Popen[bytes]"]:
    """Run nginx on the client's host, as deploy/nginx has it but without limits."""
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # its workers are another user
        text = (DEPLOY / "nginx" / "fib.conf").read_text()
        text = re.sub(r"^ *(limit_|server 192).*\n", "", text, flags=re.MULTILINE)
        servers = "".join(f"    server {host.address}:{HTTP_PORT};\n" for host in net.hosts)
        for before, after in (
            ("    least_conn;\n", f"    least_conn;\n{servers}"),
            ("listen 80 default_server;", f"listen {CACHED};"),
            ("/var/lib/nginx/fib", f"{folder}/cache"),
        ):
            assert before in text, before
            text = text.replace(before, after)
        (folder / "fib.conf").write_text(text)
        main = folder / "nginx.conf"
        main.write_text(NGINX.format(folder=folder, user=getpass.getuser()))
        command = [
            _path("nginx"),
            "-p",
            str(folder),
            "-c",
            str(main),
            "-g",
            "error_log stderr notice;",
        ]
        with net.client.running(*command, ready="start worker process ") as child:
            try:
                yield child
            finally:
                child.terminate()  # killed, it would leave its worker behind
                child.wait()


def _path(program: str) -> str:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or program


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
        if child.stdout.readline() != "done\n":
            raise click.ClickException(f"{arrangement.name}: the clients broke off")
        report: dict[str, Any] = json.loads(child.stdout.readline())
    return report


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
        "serving",
    )
    layout = "{:<34}{:<9}{:>9}{:>6}{:>7}{:>7}{:>8}{:>8}{:>9}{:>9}"
    click.echo(layout.format(*names))
    for row in rows:
        counts = (row["requests"], row["lost"], row["wrong"], row["slow"])
        times = (f"{row[name]:.1f}" for name in ("p50_ms", "p99_ms", "worst_ms"))
        click.echo(
            layout.format(row["arrangement"], row["fault"], *counts, *times, row["serving"])
        )
        for error in row["errors"]:
            click.echo(f"    {error[:150]}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=12.0, show_default=True, help="For each fault.")
@click.option("--faults-only", is_flag=True, help="Leave out what hosts carry.")
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures there.")
def main(seconds: float, faults_only: bool, report: TextIO | None) -> None:
    """Measure what several hosts are good for."""
    needed = NEEDED if faults_only else NEEDED | NEEDED_TO_CARRY
    missing = [package for name, package in needed.items() if shutil.which(_path(name)) is None]
    if missing:
        raise click.ClickException(f'something is missing: try "apt install {" ".join(missing)}"')
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    # Whoever ends this has the hosts removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows: list[dict[str, Any]] = []
    rates: dict[str, list[Carried]] = {}
    with ExitStack() as stack:
        net = stack.enter_context(network())
        servers = [Servers(host) for host in net.hosts]
        for each in servers:
            stack.callback(each.kill)
            each.start()
        balancers = Balancers(net, stack)
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
                if "HAProxy" in arrangement.name:
                    found["serving"] = balancers.wait_for(arrangement.target, len(servers))
                rows.append({"arrangement": arrangement.name, "fault": fault} | found)
        if not faults_only:
            cache = stack.enter_context(_caching(net))
            balanced = Door("HAProxy", BALANCED_HTTP, BALANCED_RPC)
            programs = _programs(servers) | {"HAProxy": balancers.processes, "nginx": [cache]}
            doors = [balanced, Door("nginx", CACHED)]
            rates["three hosts"] = list(carried(net.client, doors, programs))
            for each in servers[1:]:
                each.kill()
            for bind in (BALANCED_RPC, BALANCED_HTTP):
                balancers.wait_for(bind, 1)
            first = net.hosts[0].address
            direct = Door("nothing", f"{first}:{HTTP_PORT}", f"{first}:{RPC_PORT}")
            programs = programs | _programs(servers[:1])
            rates["one host"] = list(carried(net.client, [direct, balanced], programs))
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()))
    _print_faults(rows)
    if rates:
        print_carried(rates)
    if report:
        found = {"machine": machine(), "faults": rows, "carried": as_json(rates)}
        json.dump(found, report, indent=2)
        report.write("\n")


def _programs(servers: list[Servers]) -> dict[str, list["subprocess.Popen[bytes]"]]:
    """Return the processes of servers by the name of their program."""
    return {name: [each.processes[name] for each in servers] for name in ("fibserver", "fibweb")}


if __name__ == "__main__":
    main()
