"""Connections from one process that ask again and again, each with more or less patience.

One epoll serves them all: they share the cores with the server that they burden, and what threads
would cost is missing there.
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

__all__ = ["SENTINEL", "Asking"]

SENTINEL = b"sentinel\r\n"
"""The end of the last reply to each pipeline, which is to `ECHO sentinel`."""

RESET = struct.pack("ii", 1, 0)
"""With this SO_LINGER a close is a reset."""

PAUSE_SECONDS = 0.2
"""Before another attempt to connect after one was refused."""

START_SECONDS = 1.0
"""All have connected by then, not all in the same moment."""

READ_BYTES = 1 << 18


class _HttpReply:
    """How far a reply has come; its body is counted, not kept."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = -1
        self.outcome = ""
        self.retry_seconds = 0.0
        self.stays_open = True

    def feed(self, data: bytes) -> bool:
        """Take bytes and return whether the reply is complete."""
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
    """Replies to a pipeline, of which only the end is of interest."""

    outcome = "pipelines"
    retry_seconds = 0.0
    stays_open = True

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes and return whether the sentinel has come."""
        self._tail = (self._tail + data)[-len(SENTINEL) :]
        return self._tail == SENTINEL


class _Asker:
    """One connection of `Asking`; `due` is when it loses patience, or goes on after a pause."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.due = 0.0
        self.unsent = b""
        self.reply: _HttpReply | _PipelineReply = _PipelineReply()


@dataclass(frozen=True)
class Asking:
    """Connections that ask, wait for a while, and ask again.

    Attributes:
        count: of connections.
        request: returns the next request, given a source of chance.
        patience_seconds: without a complete reply after that, the connection is reset and
            another opened.
        drops: whether it is reset as soon as the request is sent.
        per_run: how many requests a run has; None: as many as the server lets it have.
        obeys: whether a 503 makes it wait for `Retry-After`.
        is_http: or a pipeline of RESP that ends with `SENTINEL`.
    """

    count: int
    request: Callable[[Random], bytes]
    patience_seconds: float = 60.0
    drops: bool = False
    per_run: int | None = None
    obeys: bool = True
    is_http: bool = True

    def run(self, port: int, seconds: float, chance: Random) -> Counter[str]:
        """Ask for a while, and return how many requests came to which end."""
        return _AskingRun(self, port, seconds, chance).run()


class _AskingRun:
    """One run: connections by descriptor, and a heap of when each is due."""

    def __init__(self, crowd: Asking, port: int, seconds: float, chance: Random) -> None:
        self._crowd = crowd
        self._port = port
        self._chance = chance
        self._pause = seconds * crowd.count / crowd.per_run if crowd.per_run else 0.0
        self._until = time.monotonic() + seconds
        self._epoll = select.epoll()
        self._askers: dict[int, _Asker] = {}
        self._heap: list[tuple[float, int, _Asker]] = []
        self._pushed = 0
        self._ends: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        now = time.monotonic()
        spread = (self._pause or START_SECONDS) / self._crowd.count
        for index in range(self._crowd.count):
            self._set_due(_Asker(), now + spread * index)
        while (now := time.monotonic()) < self._until:
            wake = min(self._until, self._heap[0][0]) if self._heap else self._until
            for fd, _ in self._epoll.poll(max(0.0, wake - now)):
                asker = self._askers[fd]
                try:
                    self._go_on(asker)
                except OSError:
                    self._leave(asker, "broken", PAUSE_SECONDS)
            self._look_at_the_time()
        self._ends["waiting"] = len(self._askers)
        return self._ends

    def _look_at_the_time(self) -> None:
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, asker = heapq.heappop(self._heap)
            if due != asker.due:
                continue  # something else has happened since
            if asker.sock is None:
                self._connect(asker)
            else:
                self._leave(asker, "given up", 0.0)

    def _set_due(self, asker: _Asker, due: float) -> None:
        asker.due = due
        self._pushed += 1  # tells apart what is due at the same time
        heapq.heappush(self._heap, (due, self._pushed, asker))

    def _connect(self, asker: _Asker) -> None:
        sock = asker.sock = socket.socket()
        sock.setblocking(False)
        self._askers[sock.fileno()] = asker
        self._epoll.register(sock, select.EPOLLOUT)
        sock.connect_ex(("127.0.0.1", self._port))
        self._ask(asker)

    def _ask(self, asker: _Asker) -> None:
        asker.reply = _HttpReply() if self._crowd.is_http else _PipelineReply()
        asker.unsent = self._crowd.request(self._chance)
        self._set_due(asker, time.monotonic() + self._crowd.patience_seconds)

    def _go_on(self, asker: _Asker) -> None:
        sock = asker.sock
        assert sock is not None
        if asker.unsent:
            asker.unsent = asker.unsent[sock.send(asker.unsent) :]
            if not asker.unsent:
                self._epoll.modify(sock, select.EPOLLIN)
                if self._crowd.drops:
                    self._leave(asker, "dropped", self._pause)
            return
        data = sock.recv(READ_BYTES)
        if not data:
            self._leave(asker, "closed", self._pause)
        elif asker.reply.feed(data):
            self._finish(asker)

    def _finish(self, asker: _Asker) -> None:
        reply = asker.reply
        pause = max(self._pause, reply.retry_seconds if self._crowd.obeys else 0.0)
        if pause or not reply.stays_open:
            self._leave(asker, reply.outcome, pause)
            return
        assert asker.sock is not None
        self._ends[reply.outcome] += 1
        self._epoll.modify(asker.sock, select.EPOLLOUT)
        self._ask(asker)

    def _leave(self, asker: _Asker, end: str, pause: float) -> None:
        """Reset the connection, and have another opened after a pause."""
        assert asker.sock is not None
        self._ends[end] += 1
        del self._askers[asker.sock.fileno()]
        self._epoll.unregister(asker.sock)
        asker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        asker.sock.close()
        asker.sock = None
        self._set_due(asker, time.monotonic() + pause)
