"""Resumable transfer of a slice from a server.

An interrupted transfer resumes at the next byte, over any connection.
"""

from collections.abc import Callable, Iterator

from fibclient.connections.connection import Connection
from fibclient.connections.encoded_slice import EncodedSlice, SliceRequest

__all__ = ["Transfer"]


class Transfer:
    """Transfer of a byte range of a slice.

    Attributes:
        position: Next byte to receive.
        end: Byte to stop before.
    """

    __slots__ = ("_begin", "_excess", "_pieces", "_slice", "end", "position")

    def __init__(self, slice_: EncodedSlice, begin: int = 0, end: int | None = None) -> None:
        """Create a transfer of bytes begin to end-1, by default of the whole slice."""
        self._slice = slice_
        self._begin = self.position = begin
        self.end = slice_.size if end is None else end
        self._pieces: list[bytes] = []

    def start(self, request_slice: Callable[[SliceRequest], Connection]) -> Connection:
        """Request the missing bytes; return a connection whose next byte is the first of them.

        Args:
            request_slice: Sends a request, reads the header of the reply, and returns the
                connection.
        """
        request = self._slice.request(self.position, self.end)
        connection = request_slice(request)
        if request.skip:
            connection.skip(request.skip)
        self._excess = request.size - request.skip - (self.end - self.position)
        return connection

    def fetch(self, connection: Connection) -> bytes:
        """Receive the missing bytes; return all bytes, earlier ones included.

        Args:
            connection: Connection that `start` returned.
        """
        while self.position < self.end:
            piece = connection.receive(self.end - self.position)
            self._count(connection, len(piece))
            self._pieces.append(piece)
        # Usually there is one piece, which needs no copy.
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def fill(self, connection: Connection, view: memoryview) -> None:
        """Receive the missing bytes into a buffer.

        Args:
            connection: Connection that `start` returned.
            view: Buffer for the whole transfer, which holds the earlier bytes.
        """
        while self.position < self.end:
            size = connection.receive_into(view[self.position - self._begin :])
            self._count(connection, size)

    def chunks(self, connection: Connection, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the missing bytes in chunks.

        Args:
            connection: Connection that `start` returned.
            buffer: Holds each chunk until the next is requested.
        """
        while self.position < self.end:
            size = connection.receive_into(buffer[: self.end - self.position])
            self._count(connection, size)
            yield buffer[:size]

    def _count(self, connection: Connection, size: int) -> None:
        """Count received bytes; the last ones only once the end of the reply was checked.

        If it is not, they are requested again.
        """
        if self.position + size == self.end:
            if self._excess:
                connection.skip(self._excess)
            connection.read_trailer()
        self.position += size
