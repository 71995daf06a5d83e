"""Where Prometheus finds the metrics: HTTP at its smallest, in the acceptor's loop.

    GET /metrics ──> head ── prometheus-client's own handler ──> reply, and the connection closes

Requests are read and replies sent here, without blocking; what HTTP means is left to the handler
that prometheus-client brings, which is given the request's bytes and says the reply's. A thread
of its own, as that library would start, is not to be had: workers are forked from this process.

Connections that send nothing cannot keep Prometheus out: when all are taken, the oldest that has
not sent its request yet is closed for the newcomer.
"""

import logging
import re
import socket
from functools import partial
from io import BytesIO
from select import EPOLLIN, EPOLLOUT
from typing import BinaryIO

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from fibclient.service.listeners import close_listener
from fibserver.event_loop import EventLoop

__all__ = ["MetricsServer"]

log = logging.getLogger(__name__)

MAX_EXCHANGES = 16
MAX_HEAD_BYTES = 8 * 1024
PATIENCE_SECONDS = 5.0

_END = re.compile(rb"\n\r?\n")
_TOO_LONG = b"HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n"


class MetricsServer:
    """A listener, and the exchanges under way."""

    def __init__(
        self,
        loop: EventLoop,
        listener: socket.socket,
        registry: CollectorRegistry,
    ) -> None:
        """Watch a listener.

        Args:
            loop: tells of events.
            listener: non-blocking.
            registry: what to answer with.
        """
        self._loop = loop
        self._listener = listener
        self._registry = registry
        self._exchanges: dict[_Exchange, None] = {}  # in the order they came
        self._is_paused = False
        loop.watch(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("metrics: cannot accept connections, trying again soon: %s", error)
            self._loop.unwatch(self._listener.fileno())
            self._is_paused = True
            return
        sock.setblocking(False)
        exchange = _Exchange(sock, self._loop.now, self._registry)
        if len(self._exchanges) >= MAX_EXCHANGES:
            silent = (each for each in self._exchanges if not each.is_answered)
            self._end(next(silent, next(iter(self._exchanges))))
        try:
            self._loop.watch(sock.fileno(), partial(self._on_event, exchange))
        except OSError as error:
            log.warning("metrics: cannot take a connection: %s", error)
            sock.close()
        else:
            self._exchanges[exchange] = None

    def _on_event(self, exchange: "_Exchange", _events: int) -> None:
        try:
            events = exchange.go_on()
            if events:
                self._loop.watch_for(exchange.socket.fileno(), events)
        except BlockingIOError:
            return  # a stale event of a descriptor that was another's
        except OSError as error:
            log.debug("metrics: %s", error)
            events = 0
        except Exception:  # what a request does to the handler must not end the server
            log.exception("metrics: a request could not be answered")
            events = 0
        if not events:
            self._end(exchange)

    def _end(self, exchange: "_Exchange") -> None:
        del self._exchanges[exchange]
        self._loop.unwatch(exchange.socket.fileno())
        exchange.socket.close()

    def tick(self) -> None:
        """From time to time: accept again, and end exchanges that take too long."""
        if self._is_paused:
            try:
                self._loop.watch(self._listener.fileno(), self._accept)
                self._is_paused = False
            except OSError as error:
                log.warning("metrics: cannot watch for connections: %s", error)
        for exchange in list(self._exchanges):
            if self._loop.now - exchange.started_at > PATIENCE_SECONDS:
                self._end(exchange)

    def close(self) -> None:
        """Close everything."""
        for exchange in list(self._exchanges):
            self._end(exchange)
        if not self._is_paused:
            self._loop.unwatch(self._listener.fileno())
        close_listener(self._listener)


class _Exchange:
    """One request and its reply."""

    def __init__(self, sock: socket.socket, now: float, registry: CollectorRegistry) -> None:
        self.socket = sock
        self.started_at = now
        self._registry = registry
        self._head = b""
        self._reply: memoryview | None = None
        self._is_too_long = self._is_lingering = False

    @property
    def is_answered(self) -> bool:
        """Whether the request has come."""
        return self._reply is not None

    def go_on(self) -> int:
        """Read or send what can be; return what to wait for, 0 at the end."""
        if self._is_lingering:
            return EPOLLIN if self.socket.recv(MAX_HEAD_BYTES) else 0
        if self._reply is None:
            received = self.socket.recv(MAX_HEAD_BYTES)
            self._head += received
            is_whole = _END.search(self._head) is not None
            self._is_too_long = not is_whole and len(self._head) >= MAX_HEAD_BYTES
            if received and not is_whole and not self._is_too_long:
                return EPOLLIN
            reply = _TOO_LONG if self._is_too_long else _reply_to(self._head, self._registry)
            self._reply = memoryview(reply)
        try:
            sent = self.socket.send(self._reply)
        except BlockingIOError:
            return EPOLLOUT
        self._reply = self._reply[sent:]
        if self._reply:
            return EPOLLOUT
        if self._is_too_long:  # closing with unread bytes would reset the connection
            self.socket.shutdown(socket.SHUT_WR)
            self._is_lingering = True
            return EPOLLIN
        return 0


class _Handler(MetricsHandler):
    """The handler of prometheus-client, at one path, and quiet."""

    def do_GET(self) -> None:  # noqa: N802
        """Answer the metrics, and nothing else."""
        if self.path.partition("?")[0] == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, "The metrics are at /metrics")

    def do_HEAD(self) -> None:  # noqa: N802
        """Answer as GET; `_reply_to` leaves off the body."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Leave the log to what matters."""
        log.debug(format, *args)


class _Bytes:
    """What a handler takes for a socket: a request that is there, a reply that is kept."""

    def __init__(self, request: bytes) -> None:
        self.reply = b""
        self._request = request

    def makefile(self, *_: object) -> BinaryIO:
        """Return what the request is read from."""
        return BytesIO(self._request)

    def sendall(self, data: bytes) -> None:
        """Keep what is said."""
        self.reply += data


def _reply_to(head: bytes, registry: CollectorRegistry) -> bytes:
    sock = _Bytes(head)
    handler = type("Handler", (_Handler,), {"registry": registry})
    handler(sock, ("", 0), None)
    if head.startswith(b"HEAD "):
        header, end, _ = sock.reply.partition(b"\r\n\r\n")
        return header + end
    return sock.reply
