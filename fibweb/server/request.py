"""HTTP request parser: that of waitress with stricter and earlier checks."""

import logging
import re
from io import BytesIO
from wsgiref.types import WSGIEnvironment

from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import BadRequest

from fibcommon.http.host_header import is_valid_host
from fibweb.http.mounting import path_below
from fibweb.server.request_context import RequestContext, TaskChannel

__all__ = ["MAX_BODY_BYTES", "MAX_HEADER_BYTES", "HttpRequest"]

log = logging.getLogger(__name__)

UNKNOWN = "-"
"""Method and target of a request whose request line cannot be parsed."""

MAX_HEADER_BYTES = 16 * 1024
"""Bound for the request line and headers: twice the default of nginx and Apache."""

MAX_BODY_BYTES = 16 * 1024
"""Bound for the body: no route uses one, but clients may send one."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_METHOD = re.compile(rf"{_TOKEN}{{1,64}}".encode())
_LINE = re.compile(rf"{_TOKEN}+ [^ ]+ HTTP/1\.[0-9]|GET /[^ ]*".encode())
"""Request line. `GET /` without a version is HTTP/0.9, which some scripts send."""

_TLS_HANDSHAKE = b"\x16"
"""First byte of a TLS connection (RFC 8446, 5.1)."""

TLS_DETAIL = "this port serves plain HTTP, not TLS: use http://, or a proxy that terminates TLS"


class RequestTimeout(BadRequest):
    """The rest of a request did not arrive in time."""

    code = 408
    reason = "Request Timeout"


class HttpRequest(HTTPRequestParser):
    """Request, as far as it has arrived.

    Attributes:
        id: Identifies the request in errors and in the log; empty until it is handled.
        beginning: Its first five bytes, without leading white space.
        command: Method such as GET, or "-" if the request line cannot be parsed.
        request_uri: Request target as sent, query included, or "-".
        is_simple: Whether it is a valid GET, HEAD or OPTIONS without a body, on a kept connection.
    """

    first_line: bytes  # type: ignore[assignment]
    version: str
    headers: dict[str, str]
    path: str

    id = ""
    beginning = b""
    command: str = UNKNOWN  # type: ignore[assignment]
    request_uri = UNKNOWN
    is_simple = False
    _is_line_checked = False
    _base_environ: WSGIEnvironment | None = None
    _line: WSGIEnvironment = {}  # noqa: RUF012  # replaced, never changed

    @property
    def requested_path(self) -> str:
        """Path of the request target as sent, or empty if it cannot be parsed."""
        return "" if self.request_uri == UNKNOWN else self.request_uri.partition("?")[0]

    @property
    def is_head(self) -> bool:
        """Whether the response must have no body."""
        return self.command == "HEAD" or self.beginning == b"HEAD "

    @property
    def is_tls(self) -> bool:
        """Whether the client sent TLS."""
        return self.beginning.startswith(_TLS_HANDSHAKE)

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body; a chunked one may be empty."""
        return self.body_rcv is not None

    @property
    def waits_to_continue(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends the body.

        A request that is rejected or has no body gets its response instead.
        """
        return self.expect_continue and self.headers_finished and self.has_body and not self.error

    def received(self, data: bytes) -> int:
        """Parse received bytes; any exception of the parser makes this a bad request.

        Waitress does not catch some exceptions of functions such as `urlsplit` and `int`.

        Returns:
            The number of bytes that belong to this request.
        """
        if len(self.beginning) < 5:
            self.beginning = (self.beginning + data[:5]).lstrip()[:5]
        was_finished = self.headers_finished
        try:
            consumed: int = super().received(data)
        except Exception as error:
            log.info("bad request: %s: %.100s", type(error).__name__, error)
            self._reject("the request cannot be parsed: check its first line and headers")
            consumed = len(data)
        if self.completed and not self.headers_finished:
            # Set by half a parse, or from the placeholder for a header that is too long.
            self.command = self.request_uri = UNKNOWN
        elif not (was_finished or self.error or self.empty):
            if self.headers_finished:
                self._check_header()
            elif not self._is_line_checked:
                self._check_line(self.header_plus.lstrip())
        return consumed

    def time_out(self, seconds: float) -> None:
        """Complete a request with an error because its rest has not arrived in time.

        Args:
            seconds: The time limit.
        """
        self.error = RequestTimeout(
            f"the request was incomplete after {seconds:g} s: send it within that time"
        )
        self.completed = True

    def _check_line(self, data: bytes) -> None:
        """Refuse data that is not HTTP without waiting for more: the client may send no more."""
        line, end, _ = data.partition(b"\n")
        if not end:
            method = data.partition(b" ")[0]
            if data and not _METHOD.fullmatch(method):
                self._reject(self._line_detail)
        elif line.endswith(b"\r") and _LINE.fullmatch(line[:-1].rstrip()):
            self._is_line_checked = True
        else:
            self._reject(self._line_detail)

    @property
    def _line_detail(self) -> str:
        return (
            TLS_DETAIL
            if self.is_tls
            else "the first line is no HTTP request line such as GET /fib/10 HTTP/1.1"
        )

    def _check_header(self) -> None:
        """Refuse headers that waitress accepts but RFC 9112 forbids."""
        if "TRANSFER_ENCODING" in self.headers or (
            self.chunked and "CONTENT_LENGTH" in self.headers
        ):
            # RFC 9112, 6.1: where the body ends is ambiguous. Waitress has removed the header if
            # it was valid.
            self._reject(
                "Transfer-Encoding requires HTTP/1.1 and excludes Content-Length: send one of them"
            )
            return
        if not _LINE.fullmatch(self.first_line):
            self._reject(self._line_detail)
            return
        host = self.headers.get("HOST")
        if host is None:
            if self.version not in ("", "1.0"):  # RFC 9112, 3.2
                self._reject("the Host header is missing: send one such as Host: example.org")
        elif not is_valid_host(host):  # waitress joins two headers, which is invalid too
            self._reject(f"there must be one Host header with one name, not {host[:100]!r}")
        is_bodiless = self.command in ("GET", "HEAD", "OPTIONS") and not self.has_body
        self.is_simple = is_bodiless and self.version == "1.1" and not self.connection_close

    def _reject(self, detail: str) -> None:
        self.error = BadRequest(detail)
        self.completed = True
        self.connection_close = True

    def with_line(self, method: str, target: str, path: str, query: str) -> "HttpRequest":
        """Return a simple request with these headers and another request line.

        Args:
            method: GET or HEAD.
            target: Request target as sent.
            path: Path of the target, without percent-encoding.
            query: Query of the target.
        """
        environ = self._base_environ
        assert environ is not None, "base_environ() has not been called"
        request = HttpRequest(self.adj)
        request.headers = self.headers
        request.version = self.version
        request.command = method
        request.request_uri = target
        request.is_simple = True
        request._base_environ = environ
        root_path = environ["SCRIPT_NAME"]
        request._line = {
            "REQUEST_METHOD": method,
            "REQUEST_URI": target,
            "PATH_INFO": path_below(root_path, path) if root_path else path,
            "QUERY_STRING": query,
            "wsgi.input": BytesIO(),
        }
        return request

    def base_environ(self, context: RequestContext) -> WSGIEnvironment:
        """Return the WSGI environment that waitress makes; the caller must not change it."""
        if self._base_environ is None:
            task = WSGITask(TaskChannel(context), self)  # type: ignore[arg-type]
            self._base_environ = task.get_environment()
        return self._base_environ

    def environ(self, context: RequestContext) -> WSGIEnvironment:
        """Return a new WSGI environment for the application."""
        environ = self.base_environ(context) | self._line
        host, port = context.addr
        environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = host
        environ["REMOTE_PORT"] = str(port)
        environ["fibweb.fetch"] = context.fetch
        environ["fibweb.request_id"] = self.id
        return environ
