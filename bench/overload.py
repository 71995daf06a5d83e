"""What well-behaved clients see while others abuse the services, beside nginx and redis-server.

Each abuse has servers of its own: a fibserver, and a fibweb in front of it, started for it. While
it lasts, well-behaved clients (`wellbehaved.py`) ask every 10 ms for a cached answer, for a new
small number, whether fibweb is ready, and PING, over connections that were there before; and ten
times a second over a new one. What nginx and redis-server can be asked as well is done to them
next, in the same run: nginx serves the same bytes as files, with one worker. The first row is
quiet.

The clients that misbehave (`abuses.py`), the well-behaved ones and the servers share this
machine's cores. The column *machine* is how late a process that only sleeps was woken up
meanwhile; all other times contain that.

Nothing here judges by its exit code: missed targets are printed.
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
from observation import Memory, MemoryWatch, WellBehaved
from overload_report import Observation, Row, as_json, print_details, print_table, print_targets
from servers import client, fibserver, redis_server
from side_by_side import machine

__all__ = ["main"]

BENCH = Path(__file__).parent
QUIET_SECONDS = 1.0
"""Before an abuse begins: the level that growth of memory is counted from."""

GRACE_SECONDS = 60
"""Far above what an abuse needs to end: reaching it is a failure, not a slow machine."""


class Servers(NamedTuple):
    """What is observed.

    Attributes:
        http: the port for abuse over HTTP; 0: none.
        resp: likewise over RESP.
        ports: where each kind of well-behaved client asks.
        memory: what is sampled.
        log_pid: the process whose standard error counts as the log.
    """

    http: int
    resp: int
    ports: dict[str, int]
    memory: dict[str, Memory]
    log_pid: int


class Options(NamedTuple):
    """What the command line says."""

    seconds: float
    timeout_seconds: float
    recovery_seconds: float
    seed: int


@contextmanager
def _ours() -> Iterator[Servers]:
    with fibserver() as (resp, _), rest_servers.fibweb(resp) as web:
        acceptor = client(resp).info("server")["process_id"]
        memory = {"fibweb": Memory((web.pid,)), "acceptor": Memory((acceptor,), is_private=True)}
        http_kinds = ("cached", "new", "readyz", "connect-http", "nothing")
        ports = dict.fromkeys(http_kinds, web.port)
        ports |= dict.fromkeys(("ping", "range", "connect-resp"), resp)
        yield Servers(web.port, resp, ports, memory, web.pid)


@contextmanager
def _nginx(files: Mapping[int, bytes]) -> Iterator[Servers]:
    with rest_servers.nginx(dict(files), sendfile=True) as nginx:
        family = (nginx.pid, *(each.pid for each in psutil.Process(nginx.pid).children()))
        ports = dict.fromkeys(("cached", "connect-http"), nginx.port)
        yield Servers(nginx.port, 0, ports, {"nginx": Memory(family)}, nginx.pid)


@contextmanager
def _redis() -> Iterator[Servers]:
    with redis_server() as port:
        pid = client(port).info("server")["process_id"]
        ports = dict.fromkeys(("ping", "connect-resp"), port)
        yield Servers(0, port, ports, {"redis": Memory((pid,))}, pid)


def _observe(abuse: Abuse, servers: Servers, options: Options) -> Observation:
    """Return what well-behaved clients see before, during and after an abuse."""
    with (
        closing(WellBehaved(servers.ports, options.seed, options.timeout_seconds)) as clients,
        closing(MemoryWatch(servers.memory)) as memory,
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
    """Return the size of the file that a process has as its standard error."""
    try:
        return os.stat(f"/proc/{pid}/fd/2").st_size
    except FileNotFoundError:
        return 0  # it has ended, which the clients notice


def _abuse(abuse: Abuse, servers: Servers, options: Options) -> tuple[float, list[dict[str, int]]]:
    """Run all parts of an abuse; return when they began, and what came of each."""
    if not abuse.parts:
        began = time.monotonic()
        time.sleep(options.seconds)
        return began, []
    port = servers.http if abuse.is_http else servers.resp
    with ExitStack() as stack:
        children = []
        for part in range(len(abuse.parts)):
            arguments = (abuse.name, part, port, options.seconds, options.seed)
            child = subprocess.Popen(
                [sys.executable, str(BENCH / "abuses.py"), *map(str, arguments)],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process, which ends that one
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


def _row(abuse: Abuse, files: Mapping[int, bytes], options: Options) -> Row:
    """Return what an abuse of our services does to others, and one of the peers."""
    click.echo(f"{abuse.name}: {abuse.title}", err=True)
    with _ours() as servers:
        ours = _observe(abuse, servers, options)
    peers = {}
    if "nginx" in abuse.peers:
        with _nginx(files) as servers:
            peers["nginx"] = _observe(abuse, servers, options)
    if "redis" in abuse.peers:
        with _redis() as servers:
            peers["redis"] = _observe(abuse, servers, options)
    return Row(abuse.name, abuse.title, ours, peers)


def _files() -> dict[int, bytes]:
    """Return what nginx serves: the bodies of fibweb's responses."""
    with fibserver() as (port, _), rest_servers.fibweb(port) as web:
        return {n: rest_servers.get(web.port, f"/fib/{n}") or b"" for n in FILES}


def _stop(number: int, frame: FrameType | None) -> None:
    """End the program, and let a second Ctrl-C not disturb how it cleans up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds", type=click.FloatRange(1), default=8.0, show_default=True, help="Of each abuse."
)
@click.option("--only", type=click.Choice([each.name for each in ABUSES]), multiple=True)
@click.option("--seed", type=int, default=20261128)
@click.option("--timeout", type=click.FloatRange(0.5), default=10.0, help="Of a good client.")
@click.option(
    "--recovery", type=click.FloatRange(2), default=30.0, help="Give up after so many seconds."
)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures there.")
def main(
    seconds: float,
    only: tuple[str, ...],
    seed: int,
    timeout: float,
    recovery: float,
    report: TextIO | None,
) -> None:
    """Measure what well-behaved clients see while others misbehave."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    options = Options(seconds, timeout, recovery, seed)
    chosen = [each for each in ABUSES if not only or each.name in (*only, "quiet")]
    facts = machine()
    files = _files() if any("nginx" in each.peers for each in chosen) else {}
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
