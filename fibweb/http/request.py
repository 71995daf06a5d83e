"""A request, as waitress parses it, with what this server has to know of it besides.

A client sends the same headers again and again, so those of plain requests are remembered by their
bytes: it saves a fifth of the time that a request takes in the ready lane. Plain is what has
nothing to decode and no body; all else is parsed by waitress each time.
"""

import re
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

__all__ = ["Request"]

UNKNOWN = "-"
"""The method and the target of a request that is too broken to tell."""

MAX_KNOWN_HEADERS = 512
MAX_KNOWN_BYTES = 2048
"""Of one request's headers; browsers with many cookies send more."""

_PLAIN = re.compile(
    rb"(?P<method>GET|HEAD) "
    rb"(?P<target>(?P<path>/[A-Za-z0-9._~/-]*)(?:\?(?P<query>[A-Za-z0-9._~/=&,*+-]*))?) "
    rb"HTTP/1\.1"
)
_ABOUT_A_BODY = frozenset({"CONTENT_LENGTH", "EXPECT", "TRANSFER_ENCODING"})

_known_headers: dict[bytes, dict[str, str]] = {}


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

    @property
    def method(self) -> str:
        """Such as GET."""
        return UNKNOWN if self.error else self.command

    @property
    def target(self) -> str:
        """As the request line has it, query included."""
        return UNKNOWN if self.error else self.request_uri

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the request line and the headers."""
        line, _, block = header_plus.partition(b"\r\n")
        plain = _PLAIN.fullmatch(line)
        known = _known_headers.get(block) if plain else None
        if plain is None or known is None:
            super().parse_header(header_plus)
            if plain is not None and self.body_rcv is None:
                self._remember(block)
            return
        self.headers = known.copy()
        self.first_line = self._text(line)
        self.command = self._text(plain["method"])
        self.request_uri = self._text(plain["target"])
        self.path = self._text(plain["path"])
        self.query = self._text(plain["query"] or b"")
        self.proxy_scheme = self.proxy_netloc = self.fragment = ""
        self.version = "1.1"
        self.url_scheme = self.adj.url_scheme
        self.connection_close = known.get("CONNECTION", "").lower() == "close"

    def _remember(self, block: bytes) -> None:
        if len(block) > MAX_KNOWN_BYTES or _ABOUT_A_BODY & self.headers.keys():
            return
        if len(_known_headers) >= MAX_KNOWN_HEADERS:
            _known_headers.clear()
        _known_headers[block] = self.headers.copy()

    @staticmethod
    def _text(data: bytes) -> str:
        return data.decode("latin-1")
