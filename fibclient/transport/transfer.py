"""The bytes of an answer on their way from a server, and how far they have come.

A transfer that breaks goes on from its very next byte, over any connection.
"""

from collections.abc import Callable, Iterator

from fibclient.connections.connection import Connection
from fibclient.connections.encoded_slice import EncodedSlice, Request

__all__ = ["Transfer"]


class Transfer:
    """Some bytes of an answer.

    Attributes:
        position: the next byte to come.
        end: the one behind the last.
    """

    __slots__ = ("_answer", "_begin", "_excess", "_pieces", "end", "position")

    def __init__(self, answer: EncodedSlice, begin: int = 0, end: int | None = None) -> None:
        """Describe a transfer of bytes begin to end-1, by default all."""
        self._answer = answer
        self._begin = self.position = begin
        self.end = answer.size if end is None else end
        self._pieces: list[bytes] = []

    def start(self, ask: Callable[[Request], Connection]) -> Connection:
        """Ask for what is missing, and read up to its first byte.

        Args:
            ask: sends a request; returns a connection where the first byte of its answer is next.
        """
        request = self._answer.request(self.position, self.end)
        connection = ask(request)
        if request.skip:
            connection.skip(request.skip)
        self._excess = request.size - request.skip - (self.end - self.position)
        return connection

    def fetch(self, connection: Connection) -> bytes:
        """Receive all that is missing; return all of it, with what came before a break.

        Args:
            connection: after `start`.
        """
        while self.position < self.end:
            piece = connection.receive(self.end - self.position)
            self._count(connection, len(piece))
            self._pieces.append(piece)
        # As a rule there is one piece, and no copy is made.
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def fill(self, connection: Connection, view: memoryview) -> None:
        """Receive all that is missing into a buffer.

        Args:
            connection: after `start`.
            view: as long as the whole transfer; what came before a break is in it.
        """
        while self.position < self.end:
            size = connection.receive_into(view[self.position - self._begin :])
            self._count(connection, size)

    def chunks(self, connection: Connection, buffer: memoryview) -> Iterator[memoryview]:
        """Receive all that is missing, a piece at a time.

        Args:
            connection: after `start`.
            buffer: holds each piece until the next is asked for.
        """
        while self.position < self.end:
            size = connection.receive_into(buffer[: self.end - self.position])
            self._count(connection, size)
            yield buffer[:size]

    def _count(self, connection: Connection, size: int) -> None:
        """Count a piece that has come, the last one only when the reply has ended as it should.

        Otherwise that piece will be asked for again.
        """
        if self.position + size == self.end:
            if self._excess:
                connection.skip(self._excess)
            connection.end_answer()
        self.position += size
