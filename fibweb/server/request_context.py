"""What a request needs of its connection, and a tray for what waitress's tasks write.

Waitress's tasks take this object in place of a channel. So they write to the tray of one request
instead of a socket, and only the event loop touches a connection.
"""

from collections.abc import Callable
from typing import Any

from waitress.adjustments import Adjustments

from fibweb.content.fetch import Fetch
from fibweb.http.cors import CrossOriginReading

__all__ = ["RequestContext"]


class RequestContext:
    """Context of one run of the application.

    Attributes:
        server: Waitress's server for the listener: its application, name and port.
        adj: Waitress's settings.
        addr: Address and port of the client.
        cross_origin: Who may read errors of the server itself; None to send no such headers.
        fetch: Returns what only a fibserver has, or raises WouldBlock.
        check_client_disconnected: Whether the client has left, for the application.
        closes_next: Whether the connection ends with the next response.
        written: What a task of waitress has written: header, pieces of the body, or a file.
    """

    __slots__ = (
        *("addr", "adj", "check_client_disconnected", "closes_next", "cross_origin", "fetch"),
        *("server", "written"),
    )

    def __init__(
        self,
        server: Any,
        addr: Any,
        fetch: Callable[[Fetch], bytes],
        check_client_disconnected: Callable[[], object],
        *,
        closes_next: bool,
    ) -> None:
        """Create the context of a request; see the attributes."""
        self.server = server
        self.adj: Adjustments = server.adj
        self.cross_origin: CrossOriginReading | None = server.cross_origin
        self.addr = addr
        self.fetch = fetch
        self.check_client_disconnected = check_client_disconnected
        self.closes_next = closes_next
        self.written: list[Any] = []

    def write_soon(self, data: Any) -> int:
        """Keep what a task of waitress writes; return its size in bytes."""
        self.written.append(data)
        return len(data)
