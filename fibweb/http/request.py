"""A request, as waitress parses it, with what this server has to know of it besides."""

import logging
import re
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import BadRequest

if TYPE_CHECKING:
    from fibweb.http.channel import Channel

__all__ = ["Request"]

log = logging.getLogger(__name__)

_FIRST_LINE = re.compile(rb"[!-~]+ [^ ]+( HTTP/[0-9.]+)?[ \t]*\r?")
_TLS_HANDSHAKE = b"\x16\x03"

# RFC 3986, 3.2.2 without user names: a name, IPv4 or IPv6 address; with a port. It may be empty.
# Two fields that waitress has joined by a comma and a space do not match.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")

UNKNOWN = "-"
"""The method and the target of a request that is too broken to tell."""


class Request(HTTPRequestParser):
    """A request, as far as it has arrived.

    Attributes:
        id: what to call it in errors and in the log; empty until it is answered.
    """

    command: Any
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
        self._template: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """Such as GET."""
        return UNKNOWN if self.error else self.command

    @property
    def target(self) -> str:
        """As the request line has it, query included."""
        return UNKNOWN if self.error else self.request_uri

    @property
    def user_agent(self) -> str:
        """As the client names itself, or empty."""
        return self.headers.get("USER_AGENT", "")

    @property
    def proposed_id(self) -> str:
        """As the client names the request, or empty."""
        return self.headers.get("X_REQUEST_ID", "")

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

    def environ(self, channel: "Channel") -> dict[str, Any]:
        """Return a fresh environment for the application.

        Args:
            channel: the connection that the request came on.
        """
        own = {"fibweb.fetch": channel.fetch, "fibweb.request_id": self.id}
        return self.template(channel) | own

    def received(self, data: bytes) -> int:
        """Parse some bytes; whatever the parser cannot make sense of is a bad request.

        Waitress lets some errors of what it calls escape, such as those of `urlsplit` and `int`.

        Returns:
            how many of them belong to this request.
        """
        if not self.headers_finished and (complaint := self._first_line_complaint(data)):
            return self._refuse(complaint, data)
        try:
            consumed: int = super().received(data)
        except Exception as error:
            log.info("bad request: %s: %.100s", type(error).__name__, error)
            return self._refuse("the request cannot be parsed", data)
        if self.headers_finished and not self.error and not self.empty:
            host = self.headers.get("HOST")
            if host is None and self.version == "1.1":
                return self._refuse("a request in HTTP/1.1 needs a Host header", data)
            if host is not None and not _HOST.fullmatch(host):
                return self._refuse("the Host header is no host, or there are several", data)
        return consumed

    def _refuse(self, complaint: str, data: bytes) -> int:
        self.error = BadRequest(complaint)
        self.completed = True
        self.connection_close = True
        return len(data)

    def _first_line_complaint(self, data: bytes) -> str:
        """Return what is wrong with the first line so far, or "": a client may never end it."""
        head = (self.header_plus + data).lstrip(b"\r\n")
        if head.startswith(_TLS_HANDSHAKE):
            log.warning("a client speaks TLS, which this port does not")
            return "this port speaks HTTP without TLS"
        line, end, _ = head.partition(b"\n")
        return "" if not end or _FIRST_LINE.fullmatch(line) else "this is not HTTP"

    def template(self, channel: "Channel") -> dict[str, Any]:
        """Return what waitress makes of the request, which is not to be changed.

        Args:
            channel: the connection that the request came on.
        """
        if self._template is None:
            request: Any = self
            self._template = WSGITask(channel, request).get_environment()
        return self._template
