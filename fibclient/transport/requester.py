"""Requests that are retried until a server has sent a complete reply.

The bytes of a slice go into a new object, into a buffer of the caller, or into a small buffer that
a stream reuses.
"""

from collections.abc import Callable, Collection, Iterator, MutableMapping
from time import monotonic
from typing import TypeVar

from fibclient.cancellation import Cancellation, raise_if_cancelled
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.connections.resp import Reply
from fibclient.errors import FibError, RequestRefused
from fibclient.transport.attempts import Attempts, RetryPolicy
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.transfer import Transfer

__all__ = ["STREAM_BUFFER_BYTES", "Requester"]

Result = TypeVar("Result")

STREAM_BUFFER_BYTES = 256 * 1024

SLOW_READER_SECONDS = 1.0
"""Time per chunk from which a reader is slow: the server may close its connection."""


class Requester:
    """Sends requests over the connections of a pool; thread-safe."""

    def __init__(self, pool: ConnectionPool, policy: RetryPolicy) -> None:
        """Create a requester.

        Args:
            pool: Pool to take connections from.
            policy: Limits of retries.
        """
        self._pool = pool
        self._policy = policy

    def _with_retries(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        attempt: Callable[[Attempts], Result],
    ) -> Result:
        attempts = Attempts(self._pool, self._policy, deadline, cancellation)
        while True:
            attempts.acquire_connection()
            try:
                result = attempt(attempts)
            except BaseException as error:
                attempts.failed(error)
            else:
                attempts.succeeded()
                return result

    def call(
        self, deadline: float, *args: str | int, cancellation: Cancellation | None = None
    ) -> Reply:
        """Return the reply to an idempotent command.

        Args:
            deadline: Monotonic deadline of the call.
            args: Name of the command, and its arguments.
            cancellation: Ends the call when it is cancelled.
        """
        return self._with_retries(deadline, cancellation, lambda attempts: attempts.call(*args))

    def fetch(
        self, deadline: float, cancellation: Cancellation | None, slice_: EncodedSlice
    ) -> bytes:
        """Return the bytes of a slice that is not empty."""
        transfer = Transfer(slice_)

        def attempt(attempts: Attempts) -> bytes:
            return transfer.fetch(transfer.start(attempts.request_slice))

        return self._with_retries(deadline, cancellation, attempt)

    def fetch_many(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        slices: Collection[EncodedSlice],
        results: MutableMapping[EncodedSlice, bytes | FibError],
    ) -> None:
        """Fetch several small slices, requested at once; those that are refused are retried alone.

        Args:
            deadline: Monotonic deadline of the call.
            cancellation: Ends the call when it is cancelled.
            slices: Distinct slices that are not empty, at least one.
            results: Gets the bytes of each slice, or the server's error, also if this raises.

        Raises:
            FibError: Not all slices could be fetched.
        """

        def attempt(attempts: Attempts) -> None:
            missing = [slice_ for slice_ in slices if slice_ not in results]
            connection = attempts.request_slices([slice_.whole for slice_ in missing])
            later: RequestRefused | None = None
            for slice_ in missing:
                try:
                    connection.read_header(slice_.whole)
                except RequestRefused as error:
                    if error.is_temporary:
                        later = error
                    else:
                        results[slice_] = error
                    continue
                data = connection.read_exactly(slice_.size)
                connection.read_trailer()
                results[slice_] = data
            if later is not None:
                raise later

        self._with_retries(deadline, cancellation, attempt)

    def fetch_into(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        slice_: EncodedSlice,
        view: memoryview,
    ) -> None:
        """Receive a slice that is not empty into a buffer of its size."""
        transfer = Transfer(slice_)

        def attempt(attempts: Attempts) -> None:
            transfer.fill(transfer.start(attempts.request_slice), view)

        self._with_retries(deadline, cancellation, attempt)

    def stream(
        self,
        timeout_seconds: float,
        cancellation: Cancellation | None,
        slice_: EncodedSlice,
        begin: int,
        end: int,
    ) -> Iterator[memoryview]:
        """Yield bytes begin to end-1 of a slice; each chunk is valid until the next is requested.

        Args:
            timeout_seconds: Timeout of each chunk.
            cancellation: Ends the call when it is cancelled.
            slice_: The slice.
            begin: First byte, 0 <= begin < end.
            end: Byte to stop before, <= the size of the slice.
        """
        transfer = Transfer(slice_, begin, end)
        buffer = memoryview(bytearray(min(STREAM_BUFFER_BYTES, end - begin)))
        deadline = monotonic() + timeout_seconds
        attempts = Attempts(self._pool, self._policy, deadline, cancellation)
        while True:
            attempts.acquire_connection()
            is_slow = False
            try:
                connection = transfer.start(attempts.request_slice)
                for chunk in transfer.chunks(connection, buffer):
                    yielded_at = monotonic()
                    yield chunk
                    raise_if_cancelled(cancellation)  # even if the next chunk is buffered
                    now = monotonic()
                    is_slow = is_slow or now - yielded_at > SLOW_READER_SECONDS
                    attempts.progressed(now + timeout_seconds, was_idle=is_slow)
            except BaseException as error:
                attempts.failed(error)
            else:
                attempts.succeeded()
                return
