"""Well-behaved clients that send a request every 10, 20 or 100 ms and report its latency.

Run as a command (`wellbehaved.py SEED TIMEOUT_SECONDS KIND=PORT…`), it has a thread with a
blocking socket for each kind of request. It writes a line for each request, `kind began seconds
outcome`, until its standard input ends; `began` is by `time.monotonic()`, which all processes
share.

Requests are due at fixed ticks, and their latency counts from the tick. While a reply takes longer
than a tick, the requests of the missed ticks are not sent; `with_missed_ticks` adds them with the
rest of that time. Otherwise a stall of a second would count as one slow request among hundreds
(coordinated omission, which Gil Tene's HdrHistogram corrects in the same way).

The kind `nothing` sends no request. Its latency is how late the machine wakes this process up,
which is part of all other latencies.
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

__all__ = ["KINDS", "RequestKind", "RequestSample", "main", "with_missed_ticks"]

TICK_SECONDS = 0.01
NEW_TICK_SECONDS = 0.02
"""A new number takes a worker about 4 ms: with 10 ms both kinds would keep a core busy."""

CONNECT_TICK_SECONDS = 0.1
"""A new connection costs two more system calls and an entry in TIME_WAIT."""

WRITE_SECONDS = 0.2
NICENESS = -10
"""Clients on another machine would not compete for this machine's processors."""

NEW_START, NEW_STOP = 5_000, 200_000
"""Range of the new numbers: none is computed yet, and each takes a worker some milliseconds."""


class RequestSample(NamedTuple):
    """One request.

    Attributes:
        kind: A name in `KINDS`.
        began: When it was due, by `time.monotonic()`.
        seconds: Time from then to the end of the reply or to the failure.
        outcome: `ok`, an HTTP status, an error code of RESP, `timeout`, `refused` or `broken`.
    """

    kind: str
    began: float
    seconds: float
    outcome: str


Reader = Callable[[BufferedReader], tuple[str, bool]]
"""Function that reads one reply and returns the outcome, and whether the connection stays open."""


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


class RequestKind(NamedTuple):
    """A kind of request.

    Attributes:
        requests: Returns an iterator of requests, given a random generator; None: none is sent.
        read: Reads a reply.
        tick_seconds: Interval between two requests.
        reuses_connection: Whether all requests share one connection.
    """

    requests: Callable[[random.Random], Iterator[bytes]] | None
    read: Reader
    tick_seconds: float = TICK_SECONDS
    reuses_connection: bool = True


class _PacedClient:
    """Client that sends requests of one kind, and opens its connection when needed."""

    def __init__(
        self, kind: RequestKind, port: int, rng: random.Random, timeout_seconds: float
    ) -> None:
        self._kind = kind
        self._port = port
        self._requests = kind.requests(rng) if kind.requests else None
        self._timeout_seconds = timeout_seconds
        self._sock: socket.socket | None = None
        self._reader: BufferedReader | None = None

    def request_once(self) -> str:
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
    """Return a function that yields requests for numbers in random order, without repetition."""

    def requests(rng: random.Random) -> Iterator[bytes]:
        starts = list(range(NEW_START + parity, NEW_STOP, 2))
        rng.shuffle(starts)
        return ((template % {"start": n, "stop": n + 1}).encode() for n in starts)

    return requests


_CACHED = _always(b"GET /fib/100 HTTP/1.1\r\nHost: x\r\n\r\n")
_READY = _always(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
_NEW_NUMBER = _new("GET /fib?start=%(start)d&count=1 HTTP/1.1\r\nHost: x\r\n\r\n", 0)
_NEW_RANGE = _new(
    "FIB.RANGE %(start)d %(stop)d FORMAT text\r\n", 1
)  # numbers that fibweb does not request
_PING = _always(b"PING\r\n")

KINDS = {
    "cached": RequestKind(_CACHED, _read_http),
    "new": RequestKind(_NEW_NUMBER, _read_http, NEW_TICK_SECONDS),
    "readyz": RequestKind(_READY, _read_http),
    "ping": RequestKind(_PING, _read_resp),
    "range": RequestKind(_NEW_RANGE, _read_resp, NEW_TICK_SECONDS),
    "connect-http": RequestKind(
        _CACHED, _read_http, CONNECT_TICK_SECONDS, reuses_connection=False
    ),
    "connect-resp": RequestKind(_PING, _read_resp, CONNECT_TICK_SECONDS, reuses_connection=False),
    "nothing": RequestKind(None, _read_resp),
}


def with_missed_ticks(sample: RequestSample) -> Iterator[RequestSample]:
    """Yield a sample, and one for each tick that was missed during it."""
    yield sample
    tick = KINDS[sample.kind].tick_seconds
    for missed in range(1, int(sample.seconds / tick) + 1):
        waited = missed * tick
        yield sample._replace(began=sample.began + waited, seconds=sample.seconds - waited)


def _send_requests(
    name: str,
    client: _PacedClient,
    due: float,
    samples: deque[RequestSample],
    stopping: threading.Event,
) -> None:
    tick = KINDS[name].tick_seconds
    while not stopping.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        outcome = client.request_once()
        seconds = time.monotonic() - due
        samples.append(RequestSample(name, due, seconds, outcome))
        due += tick * (int(seconds / tick) + 1)


def _write(samples: deque[RequestSample]) -> None:
    for _ in range(len(samples)):
        print(*samples.popleft())
    sys.stdout.flush()


def main() -> None:
    """Send requests until standard input ends, and write the samples."""
    seed, timeout_seconds, *named_ports = sys.argv[1:]
    with suppress(PermissionError):
        os.nice(NICENESS)
    samples: deque[RequestSample] = deque()
    stopping = threading.Event()
    threads = []
    for index, (name, port) in enumerate(pair.split("=") for pair in named_ports):
        kind, rng = KINDS[name], random.Random(f"{seed} {name}")
        client = _PacedClient(kind, int(port), rng, float(timeout_seconds))
        offset = index / len(named_ports)  # spreads the kinds over a tick
        due = time.monotonic() + kind.tick_seconds * (1 + offset)
        threads.append(
            threading.Thread(target=_send_requests, args=(name, client, due, samples, stopping))
        )
    for thread in threads:
        thread.start()
    while not select.select([sys.stdin], [], [], WRITE_SECONDS)[0]:
        _write(samples)
    stopping.set()
    for thread in threads:
        thread.join()  # their pending requests count
    _write(samples)


if __name__ == "__main__":
    main()
