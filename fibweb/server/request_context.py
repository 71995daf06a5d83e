"""Stand-in for a connection, in which waitress's tasks run one request.

Waitress's tasks take this object in place of a channel. So they write into the list of one request
instead of a socket, and only the event loop touches a connection.
"""

from collections.abc import Callable
from typing import Any

from waitress.adjustments import Adjustments

from fibweb.content.fetch import Fetch
from fibweb.http.cors import CorsPolicy

__all__ = ["RequestContext"]


class RequestContext:
    """Context of one run of the application.

    Attributes:
        server: Waitress's server for the listener: its application, name and port.
        adj: Waitress's settings.
        addr: Address and port of the client.
        cross_origin: CORS headers of errors that the server makes itself; None to send none.
        fetch: Returns bytes from a fibserver, or raises WouldBlock.
        check_client_disconnected: Returns whether the client has disconnected.
        closes_next: Whether the next response closes the connection.
        written: Output of a task of waitress: header, then pieces of the body or a file.
    """

    __slots__ = (
        *("addr", "adj", "check_client_disconnected", "closes_next", "cors", "fetch"),
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
        self.cors: CorsPolicy | None = server.cors
        self.addr = addr
        self.fetch = fetch
        self.check_client_disconnected = check_client_disconnected
        self.closes_next = closes_next
        self.written: list[Any] = []

    def write_soon(self, data: Any) -> int:
        """Append output of a task of waitress; return its size in bytes."""
        self.written.append(data)
        return len(data)
