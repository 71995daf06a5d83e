"""From exec to the first reply: each program beside the import of the libraries that it needs.

Both sides of a case are processes of the same Python, one after the other, in turns. Services get
their listening socket from this script, as from systemd, so a request can wait in its backlog and
nothing polls. CPU time is that of all processes, until they have ended.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from statistics import median
from typing import NamedTuple

import click
import psutil
from servers import ROOT, fibserver

__all__ = ["main"]

DEADLINE_SECONDS = 30
IMPORT_TARGET_MS = 40

ACTIVATE = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{}'
"""Shell command that runs another with a listening socket, as systemd does."""


class Start(NamedTuple):
    """Seconds from exec to the first reply, and CPU seconds until the end."""

    seconds: float
    cpu_seconds: float


class ProgramStart(NamedTuple):
    """A program, and the imports that it is compared with.

    Attributes:
        name: Command line.
        imports: Statement of the other side.
        target: Maximum ratio.
        run: Measures one start.
    """

    name: str
    imports: str
    target: float
    run: Callable[[], Start]


def run_to_end(*arguments: str) -> Start:
    """Return the time that a process takes from exec to its end."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=ROOT)
    return Start(*_times(child, started))


def run_service(module: str, request: bytes, expected: bytes, *arguments: str) -> Start:
    """Return the time from a service's exec to the end of its first reply.

    Args:
        module: Module of the service.
        request: Request that waits in the backlog of the listening socket.
        expected: How the reply ends.
        arguments: Options of the service.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-start-") as directory,
        closing(socket.socket(socket.AF_UNIX)) as listener,
        closing(socket.socket(socket.AF_UNIX)) as client,
    ):
        path = f"{directory}/socket"
        listener.bind(path)
        listener.listen()
        client.settimeout(DEADLINE_SECONDS)
        client.connect(path)
        client.sendall(request)
        command = ["sh", "-c", ACTIVATE.format(listener.fileno()), "sh", sys.executable, "-m"]
        started = time.perf_counter()
        child = subprocess.Popen(
            [*command, module, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd=ROOT,
        )
        reply = b""
        try:
            while not reply.endswith(expected):
                data = client.recv(65536)
                if not data:
                    raise click.ClickException(f"{module} replied {reply!r}")
                reply += data
            seconds = time.perf_counter() - started
        finally:
            client.close()
            child.terminate()
            _, cpu_seconds = _times(child, started)
    return Start(seconds, cpu_seconds)


def _times(child: "subprocess.Popen[bytes]", started: float) -> tuple[float, float]:
    """Return the seconds until a child has ended, and the CPU seconds of it and its children."""
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise click.ClickException(f"{child.args!r} exited with {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def import_cost(rounds: int) -> Start:
    """Return by how much the median time of `import fibclient` exceeds that of Python alone."""
    runs = [(run_to_end("-c", "import fibclient"), run_to_end("-c", "")) for _ in range(rounds)]
    ours, python = zip(*runs, strict=True)
    seconds = median(run.seconds for run in ours) - median(run.seconds for run in python)
    cpu = median(run.cpu_seconds for run in ours) - median(run.cpu_seconds for run in python)
    return Start(seconds, cpu)


def idle_bytes() -> tuple[int, int]:
    """Return the proportional set size of all processes of a fibserver, and their number."""
    with fibserver():
        (acceptor,) = psutil.Process().children()
        processes = [acceptor, *acceptor.children(recursive=True)]
        return sum(each.memory_full_info().pss for each in processes), len(processes)


def measure(cases: list[ProgramStart], rounds: int) -> None:
    """Measure all cases in turns, and print a line for each."""
    runs: list[list[tuple[Start, Start]]] = [[] for _ in cases]
    with click.progressbar(range(rounds), label="start", file=sys.stderr) as progress:
        for _ in progress:
            for case, pairs in zip(cases, runs, strict=True):
                pairs.append((case.run(), run_to_end("-c", case.imports)))
    layout = "{:<16} {:<25} {:>22} {:>22} {:>6} {:>7} {:>7} {:>7}"
    click.echo(
        layout.format(*("program", "beside", "ms", "other ms", "ratio", "target", "CPU", "other"))
    )
    for case, pairs in zip(cases, runs, strict=True):
        ours, other = ([pair[side].seconds * 1000 for pair in pairs] for side in (0, 1))
        cpu = (median(pair[side].cpu_seconds * 1000 for pair in pairs) for side in (0, 1))
        click.echo(
            layout.format(
                case.name,
                case.imports,
                *(
                    f"{median(each):.0f} ({min(each):.0f}-{max(each):.0f})"
                    for each in (ours, other)
                ),
                f"{median(ours) / median(other):.2f}",
                *(case.target, *(f"{each:.0f}" for each in cpu)),
            ).rstrip()
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=21, show_default=True)
def main(rounds: int) -> None:
    """Compare starts with imports, and print the memory of an idle fibserver."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # changed modules would be compiled each time
    with fibserver() as (port, _):
        server = f"127.0.0.1:{port}"
        get = b"GET /fib/10 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        cases = [
            ProgramStart(
                *("fibserver", "import numpy", 1.8),
                lambda: run_service("fibserver", b"PING\r\n", b"+PONG\r\n"),
            ),
            ProgramStart(
                *("fibclient ping", "import click", 1.5),
                lambda: run_to_end("-m", "fibclient", "--server", server, "ping"),
            ),
            ProgramStart(
                *("fibweb", "import falcon, waitress", 1.5),
                lambda: run_service("fibweb", get, b'"34"]}', "--servers", server),
            ),
        ]
        measure(cases, rounds)
    seconds, cpu_seconds = import_cost(rounds)
    click.echo(
        f"import fibclient: {seconds * 1000:.0f} ms more than Python alone, "
        f"CPU {cpu_seconds * 1000:.0f} ms (target: {IMPORT_TARGET_MS} ms)"
    )
    size, count = idle_bytes()
    click.echo(f"idle fibserver: {size / 2**20:.1f} MiB in {count} processes")


if __name__ == "__main__":
    main()
