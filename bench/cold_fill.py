"""Cold fill of fibserver, and the same additions without a server.

Run as a command, it does the additions in one thread and prints their time as JSON.
"""

import json
import socket
import subprocess
import sys
import time
from decimal import Context, Decimal, Inexact, localcontext
from pathlib import Path
from typing import NamedTuple

import click
import servers

__all__ = ["COLD", "EXACT", "Additions", "fill", "run_additions"]

COLD = 30_000
"""Number of elements that a cold fill requests."""

EXACT = Context(prec=10_000, traps=[Inexact])
"""Context with enough digits for F(COLD): inexact additions raise."""

DEADLINE_SECONDS = 120
"""Far above any measured time: reaching it is a failure, not a slow machine."""

DISCARD_BYTES = 1024 * 1024


class Additions(NamedTuple):
    """Cost of adding and rendering the first COLD numbers in one thread.

    Attributes:
        seconds: Time without the start of the process.
        size_bytes: Size of the numbers as `json`.
    """

    seconds: float
    size_bytes: int


def run_additions() -> Additions:
    """Measure the additions in a new process."""
    finished = subprocess.run(
        [sys.executable, __file__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return Additions(*json.loads(finished.stdout))


def _add() -> Additions:
    size = 0
    with localcontext(EXACT):
        started = time.perf_counter()
        current, following = Decimal(0), Decimal(1)
        for _ in range(COLD):
            text = str(current)
            size += len(text) + len('"",')
            current, following = following, current + following
        seconds = time.perf_counter() - started
    return Additions(seconds, size - len(","))


def fill(request: bytes, reply_bytes: int, checkout: Path = servers.ROOT) -> float:
    """Start an empty server, and return the seconds from a request to the last byte of its reply.

    Args:
        request: A request whose reply is a bulk string.
        reply_bytes: Size of that string.
        checkout: Directory with the server's source.
    """
    with servers.fibserver(checkout=checkout) as (port, _):
        return _seconds_to_receive(port, request, reply_bytes)


def _seconds_to_receive(port: int, request: bytes, reply_bytes: int) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(b"PING\r\n")
        _expect(sock, b"+PONG\r\n")
        started = time.perf_counter()
        sock.sendall(request)
        _expect(sock, b"$%d\r\n" % reply_bytes)
        _discard(sock, reply_bytes + len(b"\r\n"))
        return time.perf_counter() - started


def _expect(sock: socket.socket, expected: bytes) -> None:
    received = b""
    while expected.startswith(received) and received != expected:
        data = sock.recv(len(expected) - len(received))
        received += data or b" (end)"
    if received != expected:
        raise click.ClickException(f"fibserver sent {received!r} instead of {expected!r}")


def _discard(sock: socket.socket, left: int) -> None:
    """Receive bytes without copying them: with MSG_TRUNC Linux discards TCP data (tcp(7))."""
    buffer = bytearray(DISCARD_BYTES)
    while left:
        received = sock.recv_into(buffer, min(left, DISCARD_BYTES), socket.MSG_TRUNC)
        if not received:
            raise click.ClickException(f"fibserver closed the connection {left} bytes too early")
        left -= received


if __name__ == "__main__":
    print(json.dumps(_add()))
