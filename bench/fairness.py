"""Small requests while others pull everything: how long a reply takes, with and without.

One client asks for the first ten numbers, over and over, and times each round trip. In every
round it does so on an idle server, then while four other clients pull the first 100,000 numbers
(1.04 GB each) from a server that has nothing ready and little memory, then while one asks for
a giant number.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median, quantiles

import click
from servers import fibserver

__all__ = ["main"]

SECONDS = 3.0
"""How long the small requests of one measurement go on."""

REQUEST = b"*2\r\n$9\r\nFIB.FIRST\r\n$2\r\n10\r\n"
PULL = "FIB.FIRST 100000 FORMAT json"
GIANT = "FIB.NUMBER 10000000"
PULLERS = 4

PULLER = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
request = (sys.argv[2] + "\\r\\n").encode()
buffer = bytearray(1 << 20)
sock.sendall(request)
print("pulling", flush=True)
while True:
    size = int(sock.makefile("rb", 0).readline()[1:]) + 2
    while size:
        size -= sock.recv_into(buffer, min(size, len(buffer)), socket.MSG_TRUNC)
    sock.sendall(request)
"""
"""A process of its own, that asks again as soon as it has been answered, until it is ended."""


def round_trips(port: int) -> list[float]:
    """Return how many milliseconds each round trip took."""
    taken = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(REQUEST)
        size = len(sock.recv(4096))
        deadline = time.perf_counter() + SECONDS
        while (started := time.perf_counter()) < deadline:
            sock.sendall(REQUEST)
            received = 0
            while received < size:
                received += len(sock.recv(4096))
            taken.append((time.perf_counter() - started) * 1000)
    return taken


@contextmanager
def pullers(port: int, count: int, request: str) -> Iterator[None]:
    """Have processes ask for something big meanwhile."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            child = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PULLER, str(port), request], stdout=subprocess.PIPE
                )
            )
            stack.callback(child.kill)
            assert child.stdout
            child.stdout.readline()
        yield


LOADS: dict[str, Callable[[int], contextlib.AbstractContextManager[None]]] = {
    "idle": lambda port: contextlib.nullcontext(),
    "four clients pull the first 100,000": lambda port: pullers(port, PULLERS, PULL),
    "one client pulls F(10,000,000)": lambda port: pullers(port, 1, GIANT),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(rounds: int) -> None:
    """Time small requests while big ones are answered."""
    taken: dict[str, list[list[float]]] = {name: [] for name in LOADS}
    for _ in range(rounds):
        for name, load in LOADS.items():
            with fibserver() as (port, _), load(port):
                taken[name].append(round_trips(port))
    click.echo(f"FIB.FIRST 10, one client; medians of {rounds} rounds of {SECONDS:g} s, in ms")
    click.echo(f"{'meanwhile':<38}{'requests/s':>11}{'p50':>9}{'p99':>9}{'worst':>9}")
    for name, runs in taken.items():
        figures = [
            median(len(run) / SECONDS for run in runs),
            median(median(run) for run in runs),
            median(quantiles(run, n=100)[98] for run in runs),
            median(max(run) for run in runs),
        ]
        rate, *times = figures
        click.echo(f"{name:<38}{rate:>11,.0f}" + "".join(f"{each:>9.3f}" for each in times))


if __name__ == "__main__":
    main()
