"""Requests, each tried until some server has answered it whole.

This is where an answer's bytes end up: in an object of their own, in somebody else's buffer, or in
a small one that a stream uses again and again.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TypeVar

from fibclient.cancellation import Cancellation, raise_if_cancelled
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.connections.resp import Reply
from fibclient.transport.attempts import Attempts, RetryPolicy
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.transfer import Transfer

__all__ = ["STREAM_BUFFER_BYTES", "Requester"]

Result = TypeVar("Result")

STREAM_BUFFER_BYTES = 256 * 1024

SLOW_READER_SECONDS = 1.0
"""A server closes the connection of a reader that takes too long, and is not to blame for it."""


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

    def _until_answered(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        ask: Callable[[Attempts], Result],
    ) -> Result:
        attempts = Attempts(self._pool, self._policy, deadline, cancellation)
        while True:
            attempts.begin()
            try:
                result = ask(attempts)
            except BaseException as error:
                attempts.failed(error)
            else:
                attempts.succeeded()
                return result

    def call(
        self, deadline: float, *words: str | int, cancellation: Cancellation | None = None
    ) -> Reply:
        """Return the reply to a command that may be repeated.

        Args:
            deadline: for all of it, monotonic.
            words: the command's name and its arguments.
            cancellation: ends it before.
        """
        return self._until_answered(deadline, cancellation, lambda attempts: attempts.call(*words))

    def fetch(
        self, deadline: float, cancellation: Cancellation | None, answer: EncodedSlice
    ) -> bytes:
        """Return an answer that is not empty."""
        transfer = Transfer(answer)

        def ask(attempts: Attempts) -> bytes:
            return transfer.fetch(transfer.start(attempts.ask))

        return self._until_answered(deadline, cancellation, ask)

    def fetch_into(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        answer: EncodedSlice,
        view: memoryview,
    ) -> None:
        """Put an answer that is not empty into a buffer of its size."""
        transfer = Transfer(answer)

        def ask(attempts: Attempts) -> None:
            transfer.fill(transfer.start(attempts.ask), view)

        self._until_answered(deadline, cancellation, ask)

    def stream(
        self,
        timeout_seconds: float,
        cancellation: Cancellation | None,
        answer: EncodedSlice,
        begin: int,
        end: int,
    ) -> Iterator[memoryview]:
        """Yield bytes begin to end-1 of an answer, each piece right until the next is asked for.

        Args:
            timeout_seconds: for each piece.
            cancellation: ends it before.
            answer: what it is about.
            begin: 0 <= begin < end.
            end: <= its size.
        """
        transfer = Transfer(answer, begin, end)
        buffer = memoryview(bytearray(min(STREAM_BUFFER_BYTES, end - begin)))
        deadline = monotonic() + timeout_seconds
        attempts = Attempts(self._pool, self._policy, deadline, cancellation)
        while True:
            attempts.begin()
            is_slow = False
            try:
                connection = transfer.start(attempts.ask)
                for piece in transfer.chunks(connection, buffer):
                    given_at = monotonic()
                    yield piece
                    raise_if_cancelled(cancellation)  # though more of it was received before
                    now = monotonic()
                    is_slow = is_slow or now - given_at > SLOW_READER_SECONDS
                    attempts.progressed(now + timeout_seconds, was_idle=is_slow)
            except BaseException as error:
                attempts.failed(error)
            else:
                attempts.succeeded()
                return
