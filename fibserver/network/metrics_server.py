"""Where Prometheus finds the metrics: HTTP at its smallest, in the acceptor's loop.

    GET /metrics ──> head ── prometheus-client's own handler ──> reply, and the connection closes

Requests are read and replies sent here, without blocking; what HTTP means is left to the handler
that prometheus-client brings, which is given the request's bytes and says the reply's. A thread
of its own, as that library would start, is not to be had: workers are forked from this process.

An error is a problem detail, as fibweb's are. What its client sends after it is dropped: closing a
socket with unread bytes resets the connection, and the error may never be seen.

Connections that send nothing cannot keep Prometheus out: when all are taken, the oldest that has
not sent its request yet is closed for the newcomer.
"""

import logging
import re
import socket
from contextlib import suppress
from functools import partial
from io import BytesIO
from select import EPOLLIN, EPOLLOUT
from typing import BinaryIO

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from fibcommon.http.host_header import is_valid_host
from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE, problem_body, reason_phrase
from fibcommon.service.listeners import close_listener
from fibserver.core.event_loop import EventLoop

__all__ = ["MetricsServer"]

log = logging.getLogger(__name__)

MAX_EXCHANGES = 16
MAX_HEAD_BYTES = 8 * 1024
PATIENCE_SECONDS = 5.0

_DETAILS = {
    408: f"the request has not arrived within {PATIENCE_SECONDS:g} s",
    431: f"the request line and headers must have less than {MAX_HEAD_BYTES} bytes",
}

_END = re.compile(rb"\n\r?\n")
_HTTP_LINE = re.compile(rb"[^\n]* HTTP/[0-9.]+\r?\n")
_TLS_HANDSHAKE = b"\x16\x03"


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
        loop.register(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("metrics: cannot accept connections, trying again soon: %s", error)
            self._loop.unregister(self._listener.fileno())
            self._is_paused = True
            return
        sock.setblocking(False)
        exchange = _Exchange(sock, self._loop.now, self._registry)
        if len(self._exchanges) >= MAX_EXCHANGES:
            silent = (each for each in self._exchanges if not each.is_answered)
            self._end(next(silent, next(iter(self._exchanges))))
        try:
            self._loop.register(sock.fileno(), partial(self._on_event, exchange))
        except OSError as error:
            log.warning("metrics: cannot take a connection: %s", error)
            sock.close()
        else:
            self._exchanges[exchange] = None

    def _on_event(self, exchange: "_Exchange", _events: int) -> None:
        try:
            events = exchange.go_on()
            if events:
                self._loop.modify(exchange.socket.fileno(), events)
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
        self._loop.unregister(exchange.socket.fileno())
        exchange.socket.close()

    def tick(self) -> None:
        """From time to time: accept again, and end exchanges that take too long."""
        if self._is_paused:
            try:
                self._loop.register(self._listener.fileno(), self._accept)
                self._is_paused = False
            except OSError as error:
                log.warning("metrics: cannot watch for connections: %s", error)
        for exchange in list(self._exchanges):
            if self._loop.now - exchange.started_at > PATIENCE_SECONDS:
                exchange.time_out()
                self._end(exchange)

    def close(self) -> None:
        """Close everything."""
        for exchange in list(self._exchanges):
            self._end(exchange)
        if not self._is_paused:
            self._loop.unregister(self._listener.fileno())
        close_listener(self._listener)


class _Exchange:
    """One request and its reply."""

    def __init__(self, sock: socket.socket, now: float, registry: CollectorRegistry) -> None:
        self.socket = sock
        self.started_at = now
        self._registry = registry
        self._head = b""
        self._reply: memoryview | None = None
        self._is_refused = self._is_lingering = False

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
            is_whole = not received or self._is_whole
            if not is_whole and len(self._head) < MAX_HEAD_BYTES:
                return EPOLLIN
            status = 0 if is_whole else 431
            self._reply = memoryview(_reply_to(self._head, self._registry, status))
            self._is_refused = bytes(self._reply[:12]) != b"HTTP/1.0 200"
        try:
            sent = self.socket.send(self._reply)
        except BlockingIOError:
            return EPOLLOUT
        self._reply = self._reply[sent:]
        if self._reply:
            return EPOLLOUT
        if self._is_refused:
            self.socket.shutdown(socket.SHUT_WR)
            self._is_lingering = True
            return EPOLLIN
        return 0

    @property
    def _is_whole(self) -> bool:
        """Whether no more has to come to answer: also what is no HTTP, whose client may wait."""
        head = self._head
        if head.startswith(_TLS_HANDSHAKE):
            log.warning("metrics: a client sends TLS, but here is plain HTTP")
            return True
        is_other = b"\n" in head and not _HTTP_LINE.match(head)
        return is_other or _END.search(head) is not None

    def time_out(self) -> None:
        """Say so to a client that has sent a part of a request, and is about to be closed."""
        if self._reply is None and self._head:
            with suppress(OSError):
                self.socket.send(_reply_to(self._head, self._registry, 408))


class _Handler(MetricsHandler):
    """The handler of prometheus-client, at one path, and quiet.

    Attributes:
        status: of the error to answer with, 0 to answer the request.
    """

    default_request_version = "HTTP/1.0"  # errors without a header otherwise
    status = 0

    def handle(self) -> None:
        """Answer the request, or the error that is known already."""
        if not self.status:
            super().handle()
            return
        self.requestline, self.command, self.request_version = "", "", "HTTP/1.0"
        self.send_error(self.status, _DETAILS[self.status])

    def parse_request(self) -> bool:
        """Parse the request; refuse what is not for this port, and hosts as RFC 9112 says."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host") or []
        is_missing = not hosts and self.request_version == "HTTP/1.1"
        if self.command not in ("GET", "HEAD"):
            self.send_error(405, "the metrics are for GET and HEAD")
        elif is_missing or len(hosts) > 1 or not all(map(is_valid_host, hosts)):
            self.send_error(400, f"there must be one Host header with one name, not {hosts}")
        else:
            return True
        return False

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer with a problem detail.

        Args:
            code: the status.
            message: what is wrong.
        """
        body = problem_body(code, message or reason_phrase(code))
        self.send_response(code, reason_phrase(code))
        self.send_header("Content-Type", PROBLEM_MEDIA_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # noqa: N802
        """Answer the metrics, and nothing else."""
        if self.path.partition("?")[0] == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, "the metrics are at /metrics")

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


def _reply_to(head: bytes, registry: CollectorRegistry, status: int = 0) -> bytes:
    """Return the reply to a request, or the error with a status."""
    sock = _Bytes(head)
    handler = type("Handler", (_Handler,), {"registry": registry, "status": status})
    handler(sock, ("", 0), None)
    if head.startswith(b"HEAD "):
        header, end, _ = sock.reply.partition(b"\r\n\r\n")
        return header + end
    return sock.reply
