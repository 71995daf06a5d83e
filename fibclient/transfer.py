"""The bytes of an answer on their way from a server, and how far they have come.

A transfer that breaks goes on from its very next byte, over any connection.
"""

from collections.abc import Iterator

from fibclient.answers import Answer
from fibclient.connection import Connection

__all__ = ["Transfer"]


class Transfer:
    """Some bytes of an answer.

    Attributes:
        position: the next byte to come.
        end: the one behind the last.
    """

    __slots__ = ("_answer", "_begin", "_excess", "_skip", "end", "position")

    def __init__(self, answer: Answer, begin: int = 0, end: int | None = None) -> None:
        """Describe a transfer of bytes begin to end-1, by default all."""
        self._answer = answer
        self._begin = self.position = begin
        self.end = answer.size if end is None else end

    def start(self, connection: Connection) -> None:
        """Ask for what is missing, and read up to its first byte."""
        request = self._answer.request(self.position, self.end)
        name = self._answer.format.name
        connection.ask(request.size, "FIB.RANGE", request.start, request.stop, "FORMAT", name)
        connection.pass_over(request.skip)
        self._excess = request.size - request.skip - (self.end - self.position)

    def fill(self, connection: Connection, view: memoryview) -> None:
        """Receive all that is missing.

        Args:
            connection: after `start`.
            view: as long as the whole transfer; what came before a break is in it.
        """
        while self.position < self.end:
            self._receive(connection, view[self.position - self._begin :])

    def chunks(self, connection: Connection, buffer: memoryview) -> Iterator[memoryview]:
        """Receive all that is missing, a piece at a time.

        Args:
            connection: after `start`.
            buffer: holds each piece until the next is asked for.
        """
        while self.position < self.end:
            yield buffer[: self._receive(connection, buffer[: self.end - self.position])]

    def _receive(self, connection: Connection, view: memoryview) -> int:
        """Receive a piece, the last one together with the end of the reply.

        A piece counts only then: if the end is not as it should be, that piece is asked for again.
        """
        size = connection.receive_into(view)
        if self.position + size == self.end:
            connection.pass_over(self._excess)
            connection.end_answer()
        self.position += size
        return size
