"""Well-behaved clients: each asks one thing every 10 or 20 ms and reports how long the reply took.

Run as a command (`wellbehaved.py SEED TIMEOUT_SECONDS KIND=PORT…`) it is the process that
measures: a thread for each kind of request, with a plain blocking socket. It writes one line for
each request, `kind began seconds outcome`, until its standard input ends; `began` is in the time
of `time.monotonic()`, which all processes share.

A request is due at its tick, whatever became of the one before, and its time counts from that
tick. While one reply takes longer than a tick, the requests that were due meanwhile are not sent;
`samples_of` adds them with the rest of that time. Otherwise a stall of a second would count as one
slow request among hundreds (coordinated omission; Gil Tene's HdrHistogram corrects it the same
way).

The kind `nothing` sends no request. Its times are how late the machine wakes this process up,
which the times of all other kinds contain.
"""

import os
import random
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedReader
from typing import NamedTuple

__all__ = ["KINDS", "Kind", "Sample", "main", "samples_of"]

TICK_SECONDS = 0.01
NEW_TICK_SECONDS = 0.02
"""A new number takes a worker some 4 ms on average: twice as many would keep a core busy."""

CONNECT_TICK_SECONDS = 0.1
"""Each new connection costs two system calls more and an entry in TIME_WAIT."""

WRITE_SECONDS = 0.2
NICENESS = -10
"""A client on another machine would not wait for this machine's processors."""

LOWEST_NEW, HIGHEST_NEW = 5_000, 200_000
"""The new numbers: none is ready, and each takes a worker a few milliseconds at most."""


class Sample(NamedTuple):
    """One request.

    Attributes:
        kind: a name in `KINDS`.
        began: when it was due, by `time.monotonic()`.
        seconds: from then to the end of the reply, or to the failure.
        outcome: `ok`, an HTTP status, the code of an error reply, `timeout`, `refused`, `broken`.
    """

    kind: str
    began: float
    seconds: float
    outcome: str


Reader = Callable[[BufferedReader], tuple[str, bool]]
"""Reads one reply; returns the outcome, and whether the connection stays open."""


def _read_http(reader: BufferedReader) -> tuple[str, bool]:
    line = reader.readline()
    if not line:
        raise ConnectionResetError
    status, length, stays_open = line[9:12].decode(), 0, True
    while (header := reader.readline().lower()) != b"\r\n":
        if not header:
            raise ConnectionResetError
        if header.startswith(b"content-length:"):
            length = int(header[15:])
        elif header.startswith(b"connection:"):
            stays_open = b"close" not in header
    if len(reader.read(length)) < length:
        raise ConnectionResetError
    return "ok" if status == "200" else status, stays_open


def _read_resp(reader: BufferedReader) -> tuple[str, bool]:
    line = reader.readline()
    if not line:
        raise ConnectionResetError
    if line.startswith(b"-"):
        return line[1:].split()[0].decode(), True
    if line.startswith(b"$"):
        size = int(line[1:]) + 2
        if len(reader.read(size)) < size:
            raise ConnectionResetError
    return "ok", True


class Kind(NamedTuple):
    """A kind of request.

    Attributes:
        requests: returns the requests, given a source of chance; None: nothing is sent.
        read: reads a reply.
        tick_seconds: between two requests.
        reuses_connection: whether one connection carries them all.
    """

    requests: Callable[[random.Random], Iterator[bytes]] | None
    read: Reader
    tick_seconds: float = TICK_SECONDS
    reuses_connection: bool = True


class _Client:
    """A connection that is opened when it is needed, and the requests for it."""

    def __init__(
        self, kind: Kind, port: int, chance: random.Random, timeout_seconds: float
    ) -> None:
        self._kind = kind
        self._port = port
        self._requests = kind.requests(chance) if kind.requests else None
        self._timeout_seconds = timeout_seconds
        self._sock: socket.socket | None = None
        self._reader: BufferedReader | None = None

    def ask(self) -> str:
        """Send the next request, if this kind has any, and return the outcome."""
        if self._requests is None:
            return "ok"
        stays_open = False
        try:
            outcome, stays_open = self._exchange(next(self._requests))
        except TimeoutError:
            outcome = "timeout"
        except ConnectionRefusedError:
            outcome = "refused"
        except (OSError, ValueError):
            outcome = "broken"
        if not (stays_open and self._kind.reuses_connection):
            self._close()
        return outcome

    def _exchange(self, request: bytes) -> tuple[str, bool]:
        if self._sock is None or self._reader is None:
            address = ("127.0.0.1", self._port)
            self._sock = socket.create_connection(address, self._timeout_seconds)
            self._reader = self._sock.makefile("rb")
        self._sock.sendall(request)
        return self._kind.read(self._reader)

    def _close(self) -> None:
        if self._sock is not None and self._reader is not None:
            self._reader.close()
            self._sock.close()
        self._sock = self._reader = None


def _always(request: bytes) -> Callable[[random.Random], Iterator[bytes]]:
    return lambda _: iter(lambda: request, None)


def _new(template: str, parity: int) -> Callable[[random.Random], Iterator[bytes]]:
    """Return what yields requests for numbers in random order, each asked for once."""

    def requests(chance: random.Random) -> Iterator[bytes]:
        starts = list(range(LOWEST_NEW + parity, HIGHEST_NEW, 2))
        chance.shuffle(starts)
        return ((template % {"start": n, "stop": n + 1}).encode() for n in starts)

    return requests


_CACHED = _always(b"GET /fib/100 HTTP/1.1\r\nHost: x\r\n\r\n")
_READY = _always(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
_NEW_NUMBER = _new("GET /fib?start=%(start)d&count=1 HTTP/1.1\r\nHost: x\r\n\r\n", 0)
_NEW_RANGE = _new("FIB.RANGE %(start)d %(stop)d FORMAT text\r\n", 1)  # others than fibweb's
_PING = _always(b"PING\r\n")

KINDS = {
    "cached": Kind(_CACHED, _read_http),
    "new": Kind(_NEW_NUMBER, _read_http, NEW_TICK_SECONDS),
    "readyz": Kind(_READY, _read_http),
    "ping": Kind(_PING, _read_resp),
    "range": Kind(_NEW_RANGE, _read_resp, NEW_TICK_SECONDS),
    "connect-http": Kind(_CACHED, _read_http, CONNECT_TICK_SECONDS, reuses_connection=False),
    "connect-resp": Kind(_PING, _read_resp, CONNECT_TICK_SECONDS, reuses_connection=False),
    "nothing": Kind(None, _read_resp),
}


def samples_of(sample: Sample) -> Iterator[Sample]:
    """Yield a request, and those that were due while it waited."""
    yield sample
    tick = KINDS[sample.kind].tick_seconds
    for missed in range(1, int(sample.seconds / tick) + 1):
        waited = missed * tick
        yield sample._replace(began=sample.began + waited, seconds=sample.seconds - waited)


def _ask_on(
    name: str, client: _Client, due: float, done: deque[Sample], end: threading.Event
) -> None:
    tick = KINDS[name].tick_seconds
    while not end.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        outcome = client.ask()
        seconds = time.monotonic() - due
        done.append(Sample(name, due, seconds, outcome))
        due += tick * (int(seconds / tick) + 1)


def _write(done: deque[Sample]) -> None:
    for _ in range(len(done)):
        print(*done.popleft())
    sys.stdout.flush()


def main() -> None:
    """Ask until standard input ends, and write the samples."""
    seed, timeout_seconds, *named_ports = sys.argv[1:]
    with suppress(PermissionError):
        os.nice(NICENESS)
    done: deque[Sample] = deque()
    end = threading.Event()
    threads = []
    for index, (name, port) in enumerate(each.split("=") for each in named_ports):
        kind, chance = KINDS[name], random.Random(f"{seed} {name}")
        client = _Client(kind, int(port), chance, float(timeout_seconds))
        offset = index / len(named_ports)  # not all at once
        due = time.monotonic() + kind.tick_seconds * (1 + offset)
        threads.append(threading.Thread(target=_ask_on, args=(name, client, due, done, end)))
    for thread in threads:
        thread.start()
    while not select.select([sys.stdin], [], [], WRITE_SECONDS)[0]:
        _write(done)
    end.set()
    for thread in threads:
        thread.join()  # what is under way belongs to the figures
    _write(done)


if __name__ == "__main__":
    main()
