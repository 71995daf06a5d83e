"""A request, as waitress parses it, with what this server has to know of it besides."""

import logging
import re
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import BadRequest

from fibcommon.http.host_header import is_valid_host
from fibweb.server.request_context import RequestContext

__all__ = ["MAX_BODY_BYTES", "MAX_HEADER_BYTES", "Request"]

log = logging.getLogger(__name__)

UNKNOWN = "-"
"""The method and the target of a request that is too broken to tell."""

MAX_HEADER_BYTES = 16 * 1024
"""Of a request line and headers: twice what nginx and Apache take."""

MAX_BODY_BYTES = 16 * 1024
"""Of a request: no route wants a body, but clients may send one."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_METHOD = re.compile(rf"{_TOKEN}{{1,64}}".encode())
_LINE = re.compile(rf"{_TOKEN}+ [^ ]+ HTTP/[0-9]\.[0-9]|GET /[^ ]*".encode())
"""The beginning of a request. `GET /` without a version is HTTP/0.9, which some scripts send."""

_TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1)."""

TLS_DETAIL = "this is TLS, and here is plain HTTP: use http://, or a proxy that ends TLS"


class RequestTimeout(BadRequest):
    """The rest of a request did not come in time."""

    code = 408
    reason = "Request Timeout"


class Request(HTTPRequestParser):
    """A request, as far as it has arrived.

    Attributes:
        id: what to call it in errors and in the log; empty until it is answered.
        beginning: its first bytes, up to five.
    """

    command: Any
    first_line: Any
    version: str
    headers: dict[str, str]
    request_uri: str
    path: str

    def __init__(self, adj: Adjustments) -> None:
        """Begin to parse.

        Args:
            adj: waitress's settings.
        """
        super().__init__(adj)
        self.id = ""
        self.beginning = b""
        self._is_line_checked = False
        self._template: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """Such as GET."""
        return self.command if self._is_known else UNKNOWN

    @property
    def target(self) -> str:
        """As the request line has it, query included."""
        return self.request_uri if self._is_known else UNKNOWN

    @property
    def user_agent(self) -> str:
        """As the client names itself, or empty."""
        return self.headers.get("USER_AGENT", "")

    @property
    def proposed_id(self) -> str:
        """As the client names the request, or empty."""
        return self.headers.get("X_REQUEST_ID", "")

    @property
    def origin(self) -> str:
        """Origin of the page that sends the request, or empty."""
        return self.headers.get("ORIGIN", "")

    @property
    def path_asked_for(self) -> str:
        """Path of the request line as it was sent, or empty if it is not known."""
        return self.request_uri.partition("?")[0] if self._is_known else ""

    @property
    def _is_known(self) -> bool:
        """Whether the request line was parsed; what is too long is parsed as another."""
        return self.headers_finished and hasattr(self, "command")

    @property
    def is_head(self) -> bool:
        """Whether the answer must have no body."""
        return self.beginning == b"HEAD "

    @property
    def is_tls(self) -> bool:
        """Whether the client speaks TLS."""
        return self.beginning.startswith(_TLS_HANDSHAKE)

    @property
    def has_body(self) -> bool:
        """Whether the headers announced a body, if only an empty one."""
        return self.body_rcv is not None

    @property
    def is_usual(self) -> bool:
        """Whether it is a GET or HEAD without a body, and the connection goes on behind it."""
        is_reading = not self.error and self.command in ("GET", "HEAD") and not self.has_body
        return is_reading and self.version == "1.1" and not self.connection_close

    def parsed(self, adj: Adjustments) -> "Request":
        """Return the request as waitress has it: this one."""
        return self

    def environ(self, context: RequestContext) -> dict[str, Any]:
        """Return a fresh environment for the application.

        Args:
            context: of the request.
        """
        own = {"fibweb.fetch": context.fetch, "fibweb.request_id": self.id}
        return self.template(context) | own

    def received(self, data: bytes) -> int:
        """Parse some bytes; whatever the parser cannot make sense of is a bad request.

        Waitress lets some errors of what it calls escape, such as those of `urlsplit` and `int`.

        Returns:
            how many of them belong to this request.
        """
        if len(self.beginning) < 5:
            self.beginning = (self.beginning + data[:5]).lstrip()[:5]
        was_finished = self.headers_finished
        try:
            consumed: int = super().received(data)
        except Exception as error:
            log.info("bad request: %s: %.100s", type(error).__name__, error)
            self._refuse("the request cannot be parsed")
            return len(data)
        if not (was_finished or self.error or self.empty):
            if self.headers_finished:
                self._check_header()
            elif not self._is_line_checked:
                self._check_line(self.header_plus.lstrip())
        return consumed

    def time_out(self, seconds: float) -> None:
        """End a request whose rest has not come in time.

        Args:
            seconds: how long it was waited for.
        """
        self.error = RequestTimeout(f"the request has not arrived within {seconds:g} s")
        self.completed = True

    def _check_line(self, data: bytes) -> None:
        """Refuse what is no HTTP as soon as that is certain: its client may wait for a reply."""
        line, end, _ = data.partition(b"\n")
        if not end:
            method = data.partition(b" ")[0]
            if data and not _METHOD.fullmatch(method):
                self._refuse(self._line_detail)
        elif line.endswith(b"\r") and _LINE.fullmatch(line[:-1].rstrip()):
            self._is_line_checked = True
        else:
            self._refuse(self._line_detail)

    @property
    def _line_detail(self) -> str:
        return TLS_DETAIL if self.is_tls else "the first line is not one of an HTTP request"

    def _check_header(self) -> None:
        """Refuse what waitress accepts, and RFC 9112 does not."""
        if not _LINE.fullmatch(self.first_line):
            self._refuse(self._line_detail)
            return
        host = self.headers.get("HOST")
        if host is None:
            if self.version not in ("", "1.0"):  # RFC 9112, 3.2
                self._refuse("a Host header is required")
        elif not is_valid_host(host):  # nor are two, joined by waitress
            self._refuse(f"there must be one Host header with one name, not {host[:100]!r}")

    def _refuse(self, detail: str) -> None:
        self.error = BadRequest(detail)
        self.completed = True
        self.connection_close = True

    def template(self, context: RequestContext) -> dict[str, Any]:
        """Return what waitress makes of the request, which is not to be changed.

        Args:
            context: of the request.
        """
        if self._template is None:
            task = WSGITask(context, self)  # type: ignore[arg-type]
            self._template = task.get_environment()
        return self._template
