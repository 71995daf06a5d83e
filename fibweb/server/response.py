"""HTTP responses, their headers and their transmission."""

import socket
from collections.abc import Iterable
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from waitress.utilities import build_http_date

from fibweb.content.document_file import DocumentFile
from fibweb.server.request import HttpRequest

__all__ = ["IDENT", "MAX_VIEWS", "Outgoing", "Response", "format_header", "http_date", "with_date"]

MAX_VIEWS = 64
"""Maximum number of buffers per system call: some MiB, more than a socket buffer holds."""

IDENT = "fibweb"
"""Value of the Server header."""

_DATE = b"\r\nDate: "


class Response(NamedTuple):
    """Response, ready to send.

    Attributes:
        request: The request.
        status: HTTP status.
        media_type: Content-Type, or empty.
        header: Encoded status line and headers.
        body: The body; empty if there is a file.
        file: The body, if it is large.
        closes: Whether the response closes the connection.
        is_immutable: Whether Cache-Control says that the response never changes.
    """

    request: HttpRequest
    status: int
    media_type: str
    header: bytes
    body: bytes
    file: DocumentFile | None = None
    closes: bool = False
    is_immutable: bool = False

    @property
    def is_cacheable(self) -> bool:
        """Whether the same request always has the same response."""
        return (
            self.is_immutable
            and self.status in (200, 206, 304)
            and self.request.command in ("GET", "HEAD")
            and not self.request.has_body
        )


def format_header(status: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a response header with sorted fields, as waitress makes it.

    Args:
        status: Status line without the version, such as "200 OK".
        fields: Names and values of all fields but Server.
    """
    named = sorted([*fields, ("Server", IDENT)], key=itemgetter(0))
    lines = [f"{name}: {text}" for name, text in named]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def with_date(header: bytes, second: int) -> bytes:
    """Return a response header with another date.

    Args:
        header: Header with a Date.
        second: Time in whole seconds since the epoch.
    """
    before, name, after = header.partition(_DATE)
    date = http_date(second)
    return b"".join((before, name, date, after[len(date) :]))


@lru_cache(maxsize=2)
def http_date(second: int) -> bytes:
    """Return a time in the format of the Date header.

    Args:
        second: Time in whole seconds since the epoch.
    """
    return build_http_date(second).encode("ascii")


class Outgoing:
    """Transmission of one response: a header with a small body, then a file.

    Attributes:
        sent: Number of bytes that the kernel has accepted.
    """

    def __init__(self, data: bytes, file: DocumentFile | None, sent: int = 0) -> None:
        """Create a transmission; nothing is sent before `send`.

        Args:
            data: First part.
            file: Second part, from its current position on.
            sent: Number of bytes of both that have been sent already.
        """
        self.sent = sent
        self.file = file
        self._data = memoryview(data)[sent:]
        if file is not None:
            file.advance(max(0, sent - len(data)))

    @property
    def is_sent(self) -> bool:
        """Whether the kernel has accepted all bytes."""
        return not self._data and (self.file is None or self.file.is_at_end)

    @property
    def held_bytes(self) -> int:
        """Number of bytes held in memory: unsent header and body, and a fetched piece."""
        return len(self._data) + (self.file.held_bytes if self.file else 0)

    def send(self, to: socket.socket) -> bool:
        """Send the bytes that are in memory, as far as the socket accepts them.

        Returns:
            Whether the socket buffer is full; otherwise all is sent, or a piece must be fetched.

        Raises:
            OSError: The connection is broken.
        """
        while True:
            views = self.file.views() if self.file else ()
            batch = [self._data, *views[:MAX_VIEWS]] if self._data else list(views[:MAX_VIEWS])
            if not batch:
                return False
            try:
                sent = to.sendmsg(batch)
            except BlockingIOError:
                return True
            self.sent += sent
            of_data = min(sent, len(self._data))
            self._data = self._data[of_data:]
            if self.file is not None:
                self.file.advance(sent - of_data)
            if sent < sum(map(len, batch)):
                return True

    def close(self) -> None:
        """Release the bytes that were not sent."""
        self._data = memoryview(b"")
        if self.file is not None:
            self.file.close()
