"""Requests, each tried until some server has answered it whole.

This is where an answer's bytes end up: in a buffer of its exact size that is handed out without a
copy, in somebody else's buffer, or in a small one that a stream uses again and again.
"""

from collections.abc import Iterator
from io import BytesIO
from time import monotonic

from fibclient.answers import Answer
from fibclient.attempts import Attempts, RetryPolicy
from fibclient.pool import ConnectionPool
from fibclient.resp import Reply
from fibclient.transfer import Transfer

__all__ = ["Requester"]

STREAM_BUFFER_BYTES = 256 * 1024


class Requester:
    """Asks whichever servers a pool leads to; for any thread."""

    def __init__(self, pool: ConnectionPool, policy: RetryPolicy) -> None:
        """Describe a requester.

        Args:
            pool: lends the connections.
            policy: how often to try again.
        """
        self._pool = pool
        self._policy = policy

    def _attempts(self, deadline: float) -> Attempts:
        return Attempts(self._pool, self._policy, deadline)

    def call(self, deadline: float, *words: str | int) -> Reply:
        """Return the reply to a command that may be repeated.

        Args:
            deadline: for all of it, monotonic.
            words: the command's name and its arguments.
        """
        for attempt in self._attempts(deadline):
            with attempt as connection:
                return connection.call(*words)
        raise AssertionError("attempts end by success or by an error")

    def fetch(self, deadline: float, answer: Answer, behind: bytes = b"") -> bytes:
        """Return an answer, and something behind it.

        Args:
            deadline: for all of it, monotonic.
            answer: not empty.
            behind: what else to put into the buffer.
        """
        transfer = Transfer(answer)
        buffer = None
        for attempt in self._attempts(deadline):
            with attempt as connection:
                transfer.start(connection)
                # Room is made when a server has agreed to the size. It is filled in place, and
                # getvalue() hands it out without a copy.
                if buffer is None:
                    buffer = BytesIO(bytes(answer.size + len(behind)))
                with buffer.getbuffer() as view:
                    transfer.fill(connection, view[: answer.size])
                    view[answer.size :] = behind
                return buffer.getvalue()
        raise AssertionError("attempts end by success or by an error")

    def fetch_into(self, deadline: float, answer: Answer, view: memoryview) -> None:
        """Put an answer into a buffer of its size."""
        transfer = Transfer(answer)
        for attempt in self._attempts(deadline):
            with attempt as connection:
                transfer.start(connection)
                transfer.fill(connection, view)
                return

    def stream(
        self, timeout_seconds: float, answer: Answer, begin: int, end: int
    ) -> Iterator[memoryview]:
        """Yield bytes begin to end-1 of an answer, each piece right until the next is asked for.

        Args:
            timeout_seconds: for each piece.
            answer: what it is about.
            begin: 0 <= begin < end.
            end: <= its size.
        """
        transfer = Transfer(answer, begin, end)
        buffer = memoryview(bytearray(min(STREAM_BUFFER_BYTES, end - begin)))
        attempts = self._attempts(monotonic() + timeout_seconds)
        for attempt in attempts:
            with attempt as connection:
                transfer.start(connection)
                for piece in transfer.chunks(connection, buffer):
                    yield piece
                    attempts.progressed(monotonic() + timeout_seconds)
                return
