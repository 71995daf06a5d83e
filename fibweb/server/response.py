"""HTTP responses and their transmission."""

import socket
from typing import NamedTuple

from fibweb.content.document_file import DocumentFile
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import RequestContext
from fibweb.stats.access_record import AccessRecord

__all__ = ["MAX_VIEWS", "Outgoing", "Response", "access_record"]

MAX_VIEWS = 64
"""Maximum number of buffers per system call: some MiB, more than a socket buffer holds."""


class Response(NamedTuple):
    """Response, ready to send.

    Attributes:
        access_record: Access record, without the bytes sent and the duration.
        header: Encoded status line and headers.
        body: The body; empty if there is a file.
        file: The body, if it is large.
        closes: Whether the response closes the connection.
        is_cacheable: Whether the same request always has the same response.
    """

    access_record: AccessRecord
    header: bytes
    body: bytes
    file: DocumentFile | None
    closes: bool
    is_cacheable: bool


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


def access_record(
    context: RequestContext,
    request: HttpRequest,
    status: int,
    media_type: str,
) -> AccessRecord:
    """Return the access record of a request before its response is sent.

    Args:
        context: Context of the request.
        request: The request, as far as it was parsed.
        status: HTTP status of the response.
        media_type: Media type of the response, or "".
    """
    own_id = request.id if request.headers.get("X_REQUEST_ID") == request.id else ""
    client, user_agent = context.addr[0], request.headers.get("USER_AGENT", "")
    line = request.command, request.request_uri
    return AccessRecord(*line, status, 0, 0.0, client, user_agent, own_id, "", media_type)
