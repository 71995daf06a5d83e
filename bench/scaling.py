"""Benchmark of several hosts: requests lost when one of three fails, and throughput.

Each host is a network namespace with a fibserver and a fibweb; the load comes from a fourth. Under
load a host is killed (`kill -9` of its servers, which are restarted later) or cut off (its packets
are dropped for some time). Then the throughput of three hosts and of one is measured. The
namespaces need root.
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
from capacity import CapacityRow, EntryPoint, as_json, measure_capacity, print_capacity
from hosts import SERVICE, Host, Network, network
from servers import ROOT
from side_by_side import machine

__all__ = ["main"]

RPC_PORT, HTTP_PORT = 11235, 8080
BALANCED_RPC, BALANCED_HTTP, CACHED = "127.0.0.1:11235", "127.0.0.1:8000", "127.0.0.1:8001"
DEPLOY = ROOT / "deploy"
RECOVERY_SECONDS = 20
"""Far above any measured time."""

PACKAGES = {"ip": "iproute2", "haproxy": "haproxy"}
CAPACITY_PACKAGES = {"wrk": "wrk", "redis-benchmark": "redis-tools", "nginx": "nginx-light"}
"""Debian packages by the programs that they provide."""

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
        name: Name in the table.
        kind: Kind of load, `rpc` or `http`.
        target: Address or addresses for the clients.
    """

    name: str
    kind: str
    target: str


class HostServers:
    """Servers of a host, which can be killed and restarted.

    Attributes:
        host: Host that runs them.
        processes: Their processes, by program.
    """

    def __init__(self, host: Host) -> None:
        """Start nothing yet; `kill` works even if `start` failed halfway."""
        self.host = host
        self._stack = ExitStack()

    def start(self) -> None:
        """Start the servers, and wait until they are ready."""
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
        """Kill the servers with SIGKILL."""
        self._stack.close()


class Balancers:
    """HAProxy on the client's host: one in front of the fibservers, one in front of the fibwebs.

    Attributes:
        processes: Both processes.
    """

    def __init__(self, net: Network, stack: ExitStack) -> None:
        """Start both; the stack ends them."""
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
            args = [f"{key}={value}" for key, value in variables.items()]
            path = DEPLOY / "haproxy" / f"{name}.cfg"
            command = ["env", *args, _path("haproxy"), "-db", "-V", "-f", str(path)]
            running = net.client.running(*command, ready="Available polling")
            self.processes.append(stack.enter_context(running))

    def wait_for(self, bind: str, count: int) -> int:
        """Wait until `count` servers are up, and return how many are."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while (up := self._up(bind)) != count and time.monotonic() < deadline:
            time.sleep(0.1)
        return up

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
    """Run nginx on the client's host, configured by deploy/nginx without its limits."""
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # its workers run as another user
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
                child.terminate()  # SIGKILL would not end its worker
                child.wait()


def _path(program: str) -> str:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or program


def _faults(
    servers: list[HostServers],
) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    first, second = servers[0], servers[1]
    return {
        "killed": (first.kill, first.start),
        "cut off": (second.host.disconnect, second.host.reconnect),
    }


def _under_fault(
    net: Network,
    arrangement: Arrangement,
    begin: Callable[[], None],
    end: Callable[[], None],
    seconds: float,
) -> dict[str, Any]:
    """Run the clients of an arrangement while a host fails and returns; return their report."""
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
            raise click.ClickException(f"{arrangement.name}: the clients ended early")
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
@click.option(
    "--seconds", default=12.0, show_default=True, help="Duration of the load for each fault."
)
@click.option("--faults-only", is_flag=True, help="Do not measure throughput.")
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures to this file.")
def main(seconds: float, faults_only: bool, report: TextIO | None) -> None:
    """Measure the reliability and the throughput of several hosts."""
    needed = PACKAGES if faults_only else PACKAGES | CAPACITY_PACKAGES
    missing = [package for name, package in needed.items() if shutil.which(_path(name)) is None]
    if missing:
        raise click.ClickException(f'missing programs: try "apt install {" ".join(missing)}"')
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # removes the hosts
    rows: list[dict[str, Any]] = []
    rates: dict[str, list[CapacityRow]] = {}
    with ExitStack() as stack:
        net = stack.enter_context(network())
        servers = [HostServers(host) for host in net.hosts]
        for host_servers in servers:
            stack.callback(host_servers.kill)
            host_servers.start()
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
                result = _under_fault(net, arrangement, begin, end, seconds)
                if "HAProxy" in arrangement.name:
                    result["serving"] = balancers.wait_for(arrangement.target, len(servers))
                rows.append({"arrangement": arrangement.name, "fault": fault} | result)
        if not faults_only:
            cache = stack.enter_context(_caching(net))
            balanced = EntryPoint("HAProxy", BALANCED_HTTP, BALANCED_RPC)
            programs = _programs(servers) | {"HAProxy": balancers.processes, "nginx": [cache]}
            entry_points = [balanced, EntryPoint("nginx", CACHED)]
            rates["three hosts"] = list(measure_capacity(net.client, entry_points, programs))
            for host_servers in servers[1:]:
                host_servers.kill()
            for bind in (BALANCED_RPC, BALANCED_HTTP):
                balancers.wait_for(bind, 1)
            first = net.hosts[0].address
            direct = EntryPoint("nothing", f"{first}:{HTTP_PORT}", f"{first}:{RPC_PORT}")
            programs = programs | _programs(servers[:1])
            rates["one host"] = list(measure_capacity(net.client, [direct, balanced], programs))
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()))
    _print_faults(rows)
    if rates:
        print_capacity(rates)
    if report:
        figures = {"machine": machine(), "faults": rows, "carried": as_json(rates)}
        json.dump(figures, report, indent=2)
        report.write("\n")


def _programs(servers: list[HostServers]) -> dict[str, list["subprocess.Popen[bytes]"]]:
    """Return the processes of servers, by program."""
    return {
        name: [host_servers.processes[name] for host_servers in servers]
        for name in ("fibserver", "fibweb")
    }


if __name__ == "__main__":
    main()
