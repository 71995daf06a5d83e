"""HTTP server for Prometheus metrics and health checks, in the acceptor's event loop.

    GET /metrics ──> head ── prometheus-client's handler ──> response, then close

`/healthz` responds as long as the loop runs, and `/readyz` unless clients should use another
server, for orchestrators whose health checks are HTTP requests, such as Kubernetes.

This module reads requests and sends responses without blocking. The handler of prometheus-client
parses the request and builds the response, both in memory. Its server is not used because it runs
in a thread, and this process forks workers.

Errors are problem details, as in fibweb. After an error, input is discarded until the client
closes its side: closing a socket with unread bytes resets the connection, and the client might
never see the error.

Silent connections cannot lock Prometheus out: at the limit, a new connection replaces the oldest
one that has not sent its request.
"""

import logging
import re
import socket
from collections.abc import Callable
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

MAX_CONNECTIONS = 16
MAX_HEAD_BYTES = 8 * 1024
TIMEOUT_SECONDS = 5.0

_DETAILS = {
    408: f"the request was incomplete after {TIMEOUT_SECONDS:g} s: send it within that time",
    431: f"the request line and headers are too large: send less than {MAX_HEAD_BYTES} bytes",
}

_END = re.compile(rb"\n\r?\n")
_HTTP_LINE = re.compile(rb"[^\n]* HTTP/[0-9.]+\r?\n")
_TLS_HANDSHAKE = b"\x16\x03"


class MetricsServer:
    """Listener for metrics requests, and its open exchanges."""

    def __init__(
        self,
        loop: EventLoop,
        listener: socket.socket,
        registry: CollectorRegistry,
        unavailable_reason: Callable[[], str],
    ) -> None:
        """Register a listener with the loop.

        Args:
            loop: The event loop.
            listener: A non-blocking listening socket.
            registry: The metrics to serve.
            unavailable_reason: Returns why clients should use another server, "" if they need not.
        """
        self._loop = loop
        self._listener = listener
        self._handler = type(
            "Handler",
            (_Handler,),
            {"registry": registry, "unavailable_reason": staticmethod(unavailable_reason)},
        )
        self._connections: dict[_MetricsConnection, None] = {}  # in the order of arrival
        self._is_paused = False
        loop.register(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("metrics: cannot accept connections, retrying within 1 s: %s", error)
            self._loop.unregister(self._listener.fileno())
            self._is_paused = True
            return
        sock.setblocking(False)
        connection = _MetricsConnection(sock, self._loop.now, self._handler)
        if len(self._connections) >= MAX_CONNECTIONS:
            silent = (other for other in self._connections if not other.is_answered)
            self._end(next(silent, next(iter(self._connections))))
        try:
            self._loop.register(sock.fileno(), partial(self._on_event, connection))
        except OSError as error:
            log.warning("metrics: cannot register a connection: %s", error)
            sock.close()
        else:
            self._connections[connection] = None

    def _on_event(self, connection: "_MetricsConnection", _events: int) -> None:
        try:
            events = connection.advance()
            if events:
                self._loop.modify(connection.socket.fileno(), events)
        except BlockingIOError:
            return  # a stale event for a descriptor that has been reused
        except OSError as error:
            log.debug("metrics: %s", error)
            events = 0
        except Exception:  # an error in the handler must not stop the server
            log.exception("metrics: closed a connection after an internal error")
            events = 0
        if not events:
            self._end(connection)

    def _end(self, connection: "_MetricsConnection") -> None:
        del self._connections[connection]
        self._loop.unregister(connection.socket.fileno())
        connection.socket.close()

    def tick(self) -> None:
        """Resume accepting if paused, and end exchanges that have timed out."""
        if self._is_paused:
            try:
                self._loop.register(self._listener.fileno(), self._accept)
                self._is_paused = False
            except OSError as error:
                log.warning("metrics: cannot register the listener, retrying in 1 s: %s", error)
        for connection in list(self._connections):
            if self._loop.now - connection.started_at > TIMEOUT_SECONDS:
                connection.time_out()
                self._end(connection)

    def close(self) -> None:
        """Close the listener and all connections."""
        for connection in list(self._connections):
            self._end(connection)
        if not self._is_paused:
            self._loop.unregister(self._listener.fileno())
        close_listener(self._listener)


class _MetricsConnection:
    """One request and its response."""

    def __init__(self, sock: socket.socket, now: float, handler: "type[_Handler]") -> None:
        self.socket = sock
        self.started_at = now
        self._handler = handler
        self._head = b""
        self._response: memoryview | None = None
        self._is_error = self._is_lingering = False

    @property
    def is_answered(self) -> bool:
        """Whether the request has been read and its response built."""
        return self._response is not None

    def advance(self) -> int:
        """Read or send without blocking.

        Returns:
            The epoll events to wait for, 0 when the exchange has ended.
        """
        if self._is_lingering:
            return EPOLLIN if self.socket.recv(MAX_HEAD_BYTES) else 0
        if self._response is None:
            received = self.socket.recv(MAX_HEAD_BYTES)
            self._head += received
            is_complete = not received or self._is_complete
            if not is_complete and len(self._head) < MAX_HEAD_BYTES:
                return EPOLLIN
            status = 0 if is_complete else 431
            self._response = memoryview(_respond(self._head, self._handler, status))
            self._is_error = bytes(self._response[:12]) != b"HTTP/1.0 200"
        try:
            sent = self.socket.send(self._response)
        except BlockingIOError:
            return EPOLLOUT
        self._response = self._response[sent:]
        if self._response:
            return EPOLLOUT
        if self._is_error:
            self.socket.shutdown(socket.SHUT_WR)
            self._is_lingering = True
            return EPOLLIN
        return 0

    @property
    def _is_complete(self) -> bool:
        """Whether the head can be answered: it has ended, or it is not HTTP and may never end."""
        head = self._head
        if head.startswith(_TLS_HANDSHAKE):
            log.warning("metrics: a client sent a TLS handshake, but this port serves plain HTTP")
            return True
        is_other = b"\n" in head and not _HTTP_LINE.match(head)
        return is_other or _END.search(head) is not None

    def time_out(self) -> None:
        """Send a 408 if part of a request has arrived; the caller closes the connection."""
        if self._response is None and self._head:
            with suppress(OSError):
                self.socket.send(_respond(self._head, self._handler, 408))


class _Handler(MetricsHandler):
    """The request handler of prometheus-client, with health checks and without an access log.

    Attributes:
        unavailable_reason: Returns why clients should use another server, "" if they need not.
        status: Status of the error to send, 0 to handle the request.
    """

    unavailable_reason: Callable[[], str]

    default_request_version = "HTTP/1.0"  # errors would have no headers otherwise
    status = 0

    def handle(self) -> None:
        """Handle the request, or send the error with `status`."""
        if not self.status:
            super().handle()
            return
        self.requestline, self.command, self.request_version = "", "", "HTTP/1.0"
        self.send_error(self.status, _DETAILS[self.status])

    def parse_request(self) -> bool:
        """Parse the request; reject other methods, and invalid Host headers (RFC 9112, 3.2)."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host") or []
        is_missing = not hosts and self.request_version == "HTTP/1.1"
        if self.command not in ("GET", "HEAD"):
            self.send_error(405, "this path supports only GET and HEAD")
        elif is_missing or len(hosts) > 1 or not all(map(is_valid_host, hosts)):
            self.send_error(400, f"expected exactly one valid Host header, got {hosts!s:.100}")
        else:
            return True
        return False

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Send a problem detail.

        Args:
            code: The HTTP status.
            message: Its detail; the reason phrase by default.
            explain: Ignored.
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
        """Send the metrics or the result of a health check, or a 404 for any other path."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path == "/healthz":
            self._send_text("alive")
        elif path == "/readyz":
            if reason := self.unavailable_reason():
                self.send_error(503, reason)
            else:
                self._send_text("ready")
        else:
            self.send_error(
                404,
                "this path does not exist: the metrics are at /metrics, "
                "health checks at /healthz and /readyz",
            )

    def _send_text(self, text: str) -> None:
        """Send a line of text."""
        body = f"{text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:  # noqa: N802
        """Handle as GET; `_respond` removes the body."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Log at level debug."""
        log.debug(format, *args)


class _InMemorySocket:
    """Substitute for a handler's socket: provides the request and collects the response."""

    def __init__(self, request: bytes) -> None:
        self.response = b""
        self._request = request

    def makefile(self, *_: object) -> BinaryIO:
        """Return a file with the request."""
        return BytesIO(self._request)

    def sendall(self, data: bytes) -> None:
        """Append to the response."""
        self.response += data


def _respond(head: bytes, handler: type[_Handler], status: int = 0) -> bytes:
    """Return the response to a request, or an error if `status` is not 0."""
    sock = _InMemorySocket(head)
    type("Handler", (handler,), {"status": status})(sock, ("", 0), None)
    if head.startswith(b"HEAD "):
        header, end, _ = sock.response.partition(b"\r\n\r\n")
        return header + end
    return sock.response
