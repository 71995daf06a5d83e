"""What the application and the tasks of waitress need of the connection of a request."""

from typing import NamedTuple, Protocol
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer

from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import FetchRequest
from fibweb.http.cors import CorsPolicy

__all__ = ["ClientAddress", "RequestContext", "SiteContext", "TaskChannel"]

ClientAddress = tuple[str, int | None]
"""Host and port; "localhost" and None on a Unix socket."""


class SiteContext(NamedTuple):
    """What all requests of a listener share; a task of waitress reads it as its server.

    Attributes:
        application: The WSGI application.
        adj: Settings of waitress.
        effective_port: Port of the listener, or the path of a Unix socket.
        cors: CORS headers of errors that the server makes itself; None to send none.
        server_name: SERVER_NAME of the environment: applications use the Host header instead.
    """

    application: WSGIApplication
    adj: Adjustments
    effective_port: str
    cors: CorsPolicy | None
    server_name: str = "waitress.invalid"


class RequestContext(Protocol):
    """Connection of a request.

    Attributes:
        site: The context of its listener.
        addr: Address of the client.
    """

    site: SiteContext
    addr: ClientAddress

    @property
    def closes_next(self) -> bool:
        """Whether the next response closes the connection."""

    def fetch(self, fetch: FetchRequest) -> bytes:
        """Return bytes from a fibserver, or raise WouldBlock."""


class TaskChannel:
    """Channel of one task of waitress: it collects the output, which the event loop sends.

    Attributes:
        server: The context of the listener.
        adj: Settings of waitress.
        addr: Address of the client.
        written: Output of the task: the header, then pieces of the body.
        file: Body that the task returned as a file; None if there is none.
    """

    def __init__(self, context: RequestContext) -> None:
        """Create a channel without output for a request."""
        self.server = context.site
        self.adj = context.site.adj
        self.addr = context.addr
        self.written: list[bytes] = []
        self.file: DocumentFile | None = None

    def write_soon(self, data: bytes | ReadOnlyFileBasedBuffer) -> int:
        """Append output; return its size in bytes."""
        size = len(data)
        if not isinstance(data, ReadOnlyFileBasedBuffer):
            self.written.append(data)
        elif isinstance(data.file, DocumentFile):
            self.file = data.file
        else:
            self.written.append(data.file.read())
            data.file.close()
        return size

    @staticmethod
    def check_client_disconnected() -> bool:
        """Return False: the event loop notices it, and closes the connection."""
        return False
