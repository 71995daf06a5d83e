"""Benchmark of small requests while other clients read large replies.

One client repeats a request for the first ten numbers and times each round trip. Every round
measures an idle server, then an empty one from which four other clients read the first 100,000
numbers (1.04 GB each), then one from which a client reads a giant number.
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
"""Duration of one measurement."""

REQUEST = b"*2\r\n$9\r\nFIB.FIRST\r\n$2\r\n10\r\n"
LARGE_REQUEST = "FIB.FIRST 100000 FORMAT json"
GIANT_REQUEST = "FIB.NUMBER 10000000"
LARGE_READERS = 4

LARGE_READER = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
request = (sys.argv[2] + "\\r\\n").encode()
buffer = bytearray(1 << 20)
sock.sendall(request)
print("reading", flush=True)
while True:
    size = int(sock.makefile("rb", 0).readline()[1:]) + 2
    while size:
        size -= sock.recv_into(buffer, min(size, len(buffer)), socket.MSG_TRUNC)
    sock.sendall(request)
"""
"""Program that repeats a request until it is killed."""


def round_trips(port: int) -> list[float]:
    """Return the round-trip times of small requests, in milliseconds."""
    latencies = []
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
            latencies.append((time.perf_counter() - started) * 1000)
    return latencies


@contextmanager
def large_readers(port: int, count: int, request: str) -> Iterator[None]:
    """Run processes that repeat a request for a large reply."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            child = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", LARGE_READER, str(port), request],
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(child.kill)
            assert child.stdout
            child.stdout.readline()
        yield


LOADS: dict[str, Callable[[int], contextlib.AbstractContextManager[None]]] = {
    "idle": lambda port: contextlib.nullcontext(),
    "four clients read the first 100,000": lambda port: large_readers(
        port, LARGE_READERS, LARGE_REQUEST
    ),
    "one client reads F(10,000,000)": lambda port: large_readers(port, 1, GIANT_REQUEST),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(rounds: int) -> None:
    """Time small requests while other clients read large replies."""
    latencies: dict[str, list[list[float]]] = {name: [] for name in LOADS}
    for _ in range(rounds):
        for name, load in LOADS.items():
            with fibserver() as (port, _), load(port):
                latencies[name].append(round_trips(port))
    click.echo(f"FIB.FIRST 10, one client; medians of {rounds} rounds of {SECONDS:g} s, in ms")
    click.echo(f"{'meanwhile':<38}{'requests/s':>11}{'p50':>9}{'p99':>9}{'worst':>9}")
    for name, runs in latencies.items():
        figures = [
            median(len(run) / SECONDS for run in runs),
            median(median(run) for run in runs),
            median(quantiles(run, n=100)[98] for run in runs),
            median(max(run) for run in runs),
        ]
        rate, *times = figures
        click.echo(f"{name:<38}{rate:>11,.0f}" + "".join(f"{ms:>9.3f}" for ms in times))


if __name__ == "__main__":
    main()
