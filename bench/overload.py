"""Benchmark of well-behaved clients during abuse, against nginx and redis-server.

Each abuse runs against a new fibserver, with a fibweb in front of it. Meanwhile well-behaved
clients (`wellbehaved.py`) send requests over connections that were opened before: a cached
response, `/readyz` and PING every 10 ms, and a new small number every 20 ms; and ten requests a
second over new connections. An abuse that nginx or redis-server can serve as well runs against
them next; nginx serves the same bytes as files, with one worker. The first row has no abuse.

The abusive clients (`abuses.py`), the well-behaved ones and the servers share this machine's
cores. The column *machine* is how late a process that only sleeps was woken up; all other times
contain that delay.

Missed targets are printed; the exit code is 0 nevertheless.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TextIO

import click
import psutil
import rest_servers
from abuses import ABUSES, FILES, Abuse
from observation import Memory, MemorySampler, WellBehavedClients
from overload_report import (
    AbuseRow,
    Observation,
    as_json,
    print_details,
    print_table,
    print_targets,
)
from servers import client, fibserver, redis_server
from side_by_side import machine

__all__ = ["main"]

BENCH = Path(__file__).parent
QUIET_SECONDS = 1.0
"""Quiet time before an abuse; the memory at its end is the base of the growth."""

GRACE_SECONDS = 60
"""Far above the time that an abuse takes to end: reaching it is a failure."""


class ObservedServers(NamedTuple):
    """Servers under observation.

    Attributes:
        http: Port for abuse over HTTP; 0: none.
        resp: Port for abuse over RESP; 0: none.
        ports: Port for each kind of well-behaved request.
        memory: Memory to sample, by name.
        log_pid: Process whose standard error is the log.
    """

    http: int
    resp: int
    ports: dict[str, int]
    memory: dict[str, Memory]
    log_pid: int


class Options(NamedTuple):
    """Values of the command line options."""

    seconds: float
    timeout_seconds: float
    recovery_seconds: float
    seed: int


@contextmanager
def _fibservice() -> Iterator[ObservedServers]:
    with fibserver() as (resp, _), rest_servers.fibweb(resp) as web:
        acceptor = client(resp).info("server")["process_id"]
        memory = {"fibweb": Memory((web.pid,)), "acceptor": Memory((acceptor,), is_private=True)}
        http_kinds = ("cached", "new", "readyz", "connect-http", "nothing")
        ports = dict.fromkeys(http_kinds, web.port)
        ports |= dict.fromkeys(("ping", "range", "connect-resp"), resp)
        yield ObservedServers(web.port, resp, ports, memory, web.pid)


@contextmanager
def _nginx(files: Mapping[int, bytes]) -> Iterator[ObservedServers]:
    with rest_servers.nginx(dict(files), sendfile=True) as nginx:
        pids = (nginx.pid, *(child.pid for child in psutil.Process(nginx.pid).children()))
        ports = dict.fromkeys(("cached", "connect-http"), nginx.port)
        yield ObservedServers(nginx.port, 0, ports, {"nginx": Memory(pids)}, nginx.pid)


@contextmanager
def _redis() -> Iterator[ObservedServers]:
    with redis_server() as port:
        pid = client(port).info("server")["process_id"]
        ports = dict.fromkeys(("ping", "connect-resp"), port)
        yield ObservedServers(0, port, ports, {"redis": Memory((pid,))}, pid)


def _observe(abuse: Abuse, servers: ObservedServers, options: Options) -> Observation:
    """Run an abuse, and observe the well-behaved clients, memory and log meanwhile."""
    with (
        closing(
            WellBehavedClients(servers.ports, options.seed, options.timeout_seconds)
        ) as clients,
        closing(MemorySampler(servers.memory)) as memory,
    ):
        clients.wait_for_all()
        time.sleep(QUIET_SECONDS)
        memory.restart()
        logged = _log_bytes(servers.log_pid)
        began, ends = _abuse(abuse, servers, options)
        ended = time.monotonic()
        logged = _log_bytes(servers.log_pid) - logged
        recovery = clients.recovery_seconds(ended, options.recovery_seconds)
        growth = memory.growth_bytes()
        clients.finish()
        figures = clients.figures(began, ended)
    return Observation(figures, growth, recovery, logged / (ended - began), ends)


def _log_bytes(pid: int) -> int:
    """Return the size of the file that is the standard error of a process."""
    try:
        return os.stat(f"/proc/{pid}/fd/2").st_size
    except FileNotFoundError:
        return 0  # it has ended: requests fail


def _abuse(
    abuse: Abuse, servers: ObservedServers, options: Options
) -> tuple[float, list[dict[str, int]]]:
    """Run all parts of an abuse; return the start time and the outcomes of each part."""
    if not abuse.parts:
        began = time.monotonic()
        time.sleep(options.seconds)
        return began, []
    port = servers.http if abuse.is_http else servers.resp
    with ExitStack() as stack:
        children = []
        for part in range(len(abuse.parts)):
            args = (abuse.name, part, port, options.seconds, options.seed)
            child = subprocess.Popen(
                [sys.executable, str(BENCH / "abuses.py"), *map(str, args)],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the child
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            children.append(child)
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        began = time.monotonic()
        timeout = options.seconds + GRACE_SECONDS
        outputs = [child.communicate(timeout=timeout)[0] for child in children]
    return began, [json.loads(output or "{}") for output in outputs]


def _row(abuse: Abuse, files: Mapping[int, bytes], options: Options) -> AbuseRow:
    """Observe an abuse of our services, and of the peers."""
    click.echo(f"{abuse.name}: {abuse.title}", err=True)
    with _fibservice() as servers:
        ours = _observe(abuse, servers, options)
    peers = {}
    if "nginx" in abuse.peers:
        with _nginx(files) as servers:
            peers["nginx"] = _observe(abuse, servers, options)
    if "redis" in abuse.peers:
        with _redis() as servers:
            peers["redis"] = _observe(abuse, servers, options)
    return AbuseRow(abuse.name, abuse.title, ours, peers)


def _files() -> dict[int, bytes]:
    """Return the response bodies of fibweb, for nginx to serve."""
    with fibserver() as (port, _), rest_servers.fibweb(port) as web:
        return {n: rest_servers.get(web.port, f"/fib/{n}") or b"" for n in FILES}


def _stop(number: int, frame: FrameType | None) -> None:
    """End the program, and ignore further signals while it cleans up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=8.0,
    show_default=True,
    help="Duration of each abuse.",
)
@click.option(
    "--only",
    type=click.Choice([abuse.name for abuse in ABUSES]),
    multiple=True,
    help="Run this abuse and quiet.",
)
@click.option("--seed", type=int, default=20261128, help="Of the random generators.")
@click.option(
    "--timeout", type=click.FloatRange(0.5), default=10.0, help="Of well-behaved clients."
)
@click.option(
    "--recovery", type=click.FloatRange(2), default=30.0, help="Seconds to wait for recovery."
)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures to this file.")
def main(
    seconds: float,
    only: tuple[str, ...],
    seed: int,
    timeout: float,
    recovery: float,
    report: TextIO | None,
) -> None:
    """Measure the latencies of well-behaved clients while others abuse the services."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    options = Options(seconds, timeout, recovery, seed)
    chosen = [abuse for abuse in ABUSES if not only or abuse.name in (*only, "quiet")]
    facts = machine()
    files = _files() if any("nginx" in abuse.peers for abuse in chosen) else {}
    rows = []
    for abuse in chosen:
        rows.append(_row(abuse, files, options))
        print_details(rows[-1])
    click.echo("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    click.echo(
        f"{seconds:g} s for each abuse, seed {seed}. Milliseconds where no unit is given. never: "
        f"no reply within {timeout:g} s,\nor the connection was lost. Recovery is given up after "
        f"{recovery:g} s.\n"
    )
    print_table(rows)
    print_targets(rows)
    if report:
        json.dump({"machine": facts, "rows": as_json(rows)}, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
