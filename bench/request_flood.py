"""Load from many connections of one process, each of which repeats requests.

One epoll instance serves them all: the load shares the cores with the server under test, and the
cost of threads would be taken from that server.
"""

import heapq
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

__all__ = ["SENTINEL", "RequestFlood"]

SENTINEL = b"sentinel\r\n"
"""End of the replies to a pipeline, whose last command is `ECHO sentinel`."""

RESET = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which `close` resets the connection."""

PAUSE_SECONDS = 0.2
"""Delay before reconnecting after a connection was refused."""

START_SECONDS = 1.0
"""The connections are opened evenly over this time."""

READ_BYTES = 1 << 18


class _HttpResponse:
    """Parser of one HTTP response; it counts the bytes of the body and discards them."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = -1
        self.outcome = ""
        self.retry_seconds = 0.0
        self.stays_open = True

    def feed(self, data: bytes) -> bool:
        """Parse received bytes, and return whether the response is complete."""
        if self._missing < 0:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return False
            self._read_head(head.decode("latin-1").lower().split("\r\n"))
        self._missing -= len(data)
        return self._missing <= 0

    def _read_head(self, lines: list[str]) -> None:
        self.outcome = lines[0][9:12]
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        self._missing = int(headers.get("content-length", 0))
        self.stays_open = headers.get("connection") != "close"
        if self.outcome == "503":
            with suppress(ValueError):
                self.retry_seconds = float(headers.get("retry-after", 0))


class _PipelineReply:
    """Detector of the end of the replies to a pipeline."""

    outcome = "pipelines"
    retry_seconds = 0.0
    stays_open = True

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """Parse received bytes, and return whether they end with the sentinel."""
        self._tail = (self._tail + data)[-len(SENTINEL) :]
        return self._tail == SENTINEL


class _FloodConnection:
    """One connection; at `due` it gives up its request, or reconnects after a pause."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.due = 0.0
        self.unsent = b""
        self.reply: _HttpResponse | _PipelineReply = _PipelineReply()


@dataclass(frozen=True)
class RequestFlood:
    """Connections that repeat requests.

    Attributes:
        count: Number of connections.
        request: Returns the next request, given a random generator.
        patience_seconds: Time after which a connection without a complete reply is reset and
            replaced.
        drops: Whether a connection is reset as soon as its request is sent.
        per_run: Number of requests in a run; None: as many as the server answers.
        obeys: Whether a connection waits for `Retry-After` after a 503.
        is_http: Whether requests are HTTP; otherwise they are RESP pipelines that end with
            `ECHO sentinel`.
    """

    count: int
    request: Callable[[Random], bytes]
    patience_seconds: float = 60.0
    drops: bool = False
    per_run: int | None = None
    obeys: bool = True
    is_http: bool = True

    def run(self, port: int, seconds: float, rng: Random) -> Counter[str]:
        """Send requests for `seconds`, and return how often each outcome occurred."""
        return _FloodRun(self, port, seconds, rng).run()


class _FloodRun:
    """One run: the connections by file descriptor, and a heap of their due times."""

    def __init__(self, flood: RequestFlood, port: int, seconds: float, rng: Random) -> None:
        self._flood = flood
        self._port = port
        self._rng = rng
        self._pause = seconds * flood.count / flood.per_run if flood.per_run else 0.0
        self._until = time.monotonic() + seconds
        self._epoll = select.epoll()
        self._connections: dict[int, _FloodConnection] = {}
        self._heap: list[tuple[float, int, _FloodConnection]] = []
        self._pushed = 0
        self._outcomes: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        now = time.monotonic()
        spread = (self._pause or START_SECONDS) / self._flood.count
        for index in range(self._flood.count):
            self._set_due(_FloodConnection(), now + spread * index)
        while (now := time.monotonic()) < self._until:
            wake = min(self._until, self._heap[0][0]) if self._heap else self._until
            for fd, _ in self._epoll.poll(max(0.0, wake - now)):
                connection = self._connections[fd]
                try:
                    self._advance(connection)
                except OSError:
                    self._reset(connection, "broken", PAUSE_SECONDS)
            self._run_due()
        self._outcomes["waiting"] = len(self._connections)
        return self._outcomes

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, connection = heapq.heappop(self._heap)
            if due != connection.due:
                continue  # rescheduled since
            if connection.sock is None:
                self._connect(connection)
            else:
                self._reset(connection, "given up", 0.0)

    def _set_due(self, connection: _FloodConnection, due: float) -> None:
        connection.due = due
        self._pushed += 1  # breaks ties between equal times
        heapq.heappush(self._heap, (due, self._pushed, connection))

    def _connect(self, connection: _FloodConnection) -> None:
        sock = connection.sock = socket.socket()
        sock.setblocking(False)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock, select.EPOLLOUT)
        sock.connect_ex(("127.0.0.1", self._port))
        self._start_request(connection)

    def _start_request(self, connection: _FloodConnection) -> None:
        connection.reply = _HttpResponse() if self._flood.is_http else _PipelineReply()
        connection.unsent = self._flood.request(self._rng)
        self._set_due(connection, time.monotonic() + self._flood.patience_seconds)

    def _advance(self, connection: _FloodConnection) -> None:
        sock = connection.sock
        assert sock is not None
        if connection.unsent:
            connection.unsent = connection.unsent[sock.send(connection.unsent) :]
            if not connection.unsent:
                self._epoll.modify(sock, select.EPOLLIN)
                if self._flood.drops:
                    self._reset(connection, "dropped", self._pause)
            return
        data = sock.recv(READ_BYTES)
        if not data:
            self._reset(connection, "closed", self._pause)
        elif connection.reply.feed(data):
            self._on_reply(connection)

    def _on_reply(self, connection: _FloodConnection) -> None:
        reply = connection.reply
        pause = max(self._pause, reply.retry_seconds if self._flood.obeys else 0.0)
        if pause or not reply.stays_open:
            self._reset(connection, reply.outcome, pause)
            return
        assert connection.sock is not None
        self._outcomes[reply.outcome] += 1
        self._epoll.modify(connection.sock, select.EPOLLOUT)
        self._start_request(connection)

    def _reset(self, connection: _FloodConnection, outcome: str, pause: float) -> None:
        """Reset the connection, and schedule another one after a pause."""
        assert connection.sock is not None
        self._outcomes[outcome] += 1
        del self._connections[connection.sock.fileno()]
        self._epoll.unregister(connection.sock)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.sock.close()
        connection.sock = None
        self._set_due(connection, time.monotonic() + pause)
