"""Base of a connection: what it takes to run the application for a request.

Waitress's tasks take a `RequestContext` for their channel, and its `SiteContext` for their server.
What a task sends is collected in a list: only the event loop writes to a socket.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel

from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import FetchRequest
from fibweb.http.cors import CorsPolicy
from fibweb.server.event_loop import Loop

__all__ = ["ClientAddress", "RequestContext", "SiteContext", "Socket"]

Socket = socket.socket

ClientAddress = tuple[str, int | None]
"""Host and port; "localhost" and None on a Unix socket."""


@dataclass(frozen=True, slots=True)
class SiteContext:
    """What all connections of a listener share; waitress reads it as its server.

    Attributes:
        application: The WSGI application.
        adj: Settings of waitress.
        effective_port: Port of the listener, or the path of a Unix socket.
        cors: CORS headers of errors that the server makes itself; None to send none.
        active_channels: Open connections by descriptor.
        server_name: SERVER_NAME of the environment: applications use the Host header instead.
    """

    application: WSGIApplication
    adj: Adjustments
    effective_port: str
    cors: CorsPolicy | None
    active_channels: Mapping[int, HTTPChannel]
    server_name: str = "waitress.invalid"


class RequestContext(HTTPChannel, ABC):
    """Connection, as the application and waitress's tasks use it.

    Attributes:
        server: The context of its listener.
        addr: Address of the client.
        written: Output of a task of waitress: the header, then pieces of the body.
        written_file: Body that the task returned as a file; None if there is none.
    """

    server: SiteContext  # type: ignore[assignment]
    addr: ClientAddress
    socket: Socket
    _fileno: int

    def __init__(self, server: SiteContext, sock: Socket, addr: ClientAddress, loop: Loop) -> None:
        """Register an accepted connection with the event loop."""
        super().__init__(server, sock, addr, server.adj, loop)  # type: ignore[arg-type]
        self.written: list[bytes] = []
        self.written_file: DocumentFile | None = None

    @property
    @abstractmethod
    def closes_next(self) -> bool:
        """Whether the next response closes the connection."""

    @abstractmethod
    def fetch(self, fetch: FetchRequest) -> bytes:
        """Return bytes from a fibserver, or raise WouldBlock."""

    @abstractmethod
    def on_fetched(self, fetch: FetchRequest, result: bytes | Exception) -> None:
        """Continue after a fetch with its bytes or its error."""

    def write_soon(self, data: bytes | ReadOnlyFileBasedBuffer) -> int:
        """Append output of a task of waitress; return its size in bytes."""
        size = len(data)
        if not isinstance(data, ReadOnlyFileBasedBuffer):
            self.written.append(data)
        elif isinstance(data.file, DocumentFile):
            self.written_file = data.file
        else:
            self.written.append(data.file.read())
            data.file.close()
        return size
