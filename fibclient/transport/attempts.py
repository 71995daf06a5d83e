"""Attempts of a call: each uses a connection, until one succeeds or a retry is not worthwhile.

    attempts = Attempts(pool, policy, deadline, cancellation)
    while True:
        attempts.acquire_connection()
        try:
            reply = attempts.call("PING")
        except BaseException as error:
            attempts.failed(error)  # raises unless another attempt follows
        else:
            attempts.succeeded()
            return reply

A connection returns to the pool only if the reply, which may be an error, was read to its end.
Otherwise its next bytes cannot be trusted, and it is closed.

An attempt may be hedged (`fibclient.transport.hedging`): the request is then sent over two
connections, and the one that is silent when the first byte arrives over the other is abandoned.
"""

import random
import time
from collections.abc import Sequence, Set

from fibclient.cancellation import Cancellation, as_cancelled
from fibclient.connections.connection import (
    READ_AHEAD_BYTES,
    STEP_BYTES,
    Connection,
    first_readable,
)
from fibclient.connections.encoded_slice import SliceRequest
from fibclient.connections.endpoint import Endpoint
from fibclient.connections.resp import Reply, encode_request
from fibclient.errors import (
    ClientClosed,
    ConnectionLost,
    FibError,
    RequestRefused,
    ServerUnreachable,
    SocketShortage,
)
from fibclient.transport.hedging import hedge_delay_seconds
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.retry import Backoff, RetryBudget, is_retryable
from fibcommon.costs import EXPENSIVE_SECONDS

__all__ = ["Attempts", "RetryPolicy"]


class RetryPolicy:
    """Limits and counters of retries, shared by all calls of a client.

    Attributes:
        retries: Number of retries so far.
        hedges: Number of requests so far that were also sent to a second server.
    """

    def __init__(self, max_retries: int, backoff: Backoff, budget: RetryBudget) -> None:
        """Set the limits.

        Args:
            max_retries: Maximum number of retries per call, >= 0.
            backoff: Delays between the attempts of a call.
            budget: Budget shared by all calls.
        """
        self.max_retries = max_retries
        self.backoff = backoff
        self.budget = budget
        self.retries = self.hedges = 0


class Attempts:
    """The attempts of one call."""

    __slots__ = (
        "_cancellation",
        "_connection",
        "_deadline",
        "_failures",
        "_had_stale",
        "_policy",
        "_pool",
    )

    def __init__(
        self,
        pool: ConnectionPool,
        policy: RetryPolicy,
        deadline: float,
        cancellation: Cancellation | None = None,
    ) -> None:
        """Prepare the attempts of a call.

        Args:
            pool: Pool to take connections from.
            policy: Limits shared by all calls.
            deadline: Monotonic deadline of the call.
            cancellation: Ends the call when it is cancelled.
        """
        self._pool = pool
        self._cancellation = cancellation
        self._policy = policy
        self._deadline = deadline
        self._failures = 0
        self._had_stale = False

    def acquire_connection(self) -> None:
        """Acquire a connection for the next attempt.

        Raises:
            FibError: No connection is available, and a retry is not worthwhile.
        """
        while True:
            try:
                self._connection = self._pool.acquire(self._deadline, self._cancellation)
            except FibError as error:
                self._prepare_next(error)
            else:
                return

    def call(self, *args: str | int) -> Reply:
        """Send a request for anything but a slice, and return its reply.

        Raises:
            FibError: As for `Connection.call`.
        """
        return self._first_to_reply(encode_request(*args), STEP_BYTES, 0.0).read_reply()

    def request_slice(self, request: SliceRequest) -> Connection:
        """Send a request for a slice; return a connection whose next byte is the slice's first.

        Raises:
            FibError: As for `Connection.call`.
        """
        header = request.header
        reply_bytes = len(header) + request.size + len(b"\r\n")
        # Receive a small reply at once, and one byte more to detect excess. Of a large one receive
        # only the header: the slice is received directly into its final buffer.
        limit = reply_bytes + 1 if reply_bytes < READ_AHEAD_BYTES else len(header)
        connection = self._first_to_reply(request.encoded, limit, request.cost_seconds)
        connection.read_header(request)
        return connection

    def request_slices(self, requests: Sequence[SliceRequest]) -> Connection:
        """Send requests for slices at once; return a connection whose next bytes are the replies.

        Args:
            requests: At least one; together they fit into a socket buffer.

        Raises:
            FibError: As for `Connection.call`.
        """
        sizes = [len(request.header) + request.size + len(b"\r\n") for request in requests]
        encoded = b"".join([request.encoded for request in requests])
        cost_seconds = sum(request.cost_seconds for request in requests)
        return self._first_to_reply(encoded, min(sum(sizes) + 1, READ_AHEAD_BYTES), cost_seconds)

    def _first_to_reply(self, encoded: bytes, limit: int, cost_seconds: float) -> Connection:
        """Send a request; return the connection over which the first byte of the reply arrived."""
        connection = self._connection
        connection.send(encoded)
        if not self._pool.has_several or cost_seconds > EXPENSIVE_SECONDS:
            connection.await_reply(limit)
            return connection
        endpoint = connection.endpoint
        sent_at = time.monotonic()
        try:
            patience = hedge_delay_seconds(endpoint.latency_seconds, cost_seconds)
            if connection.await_reply(limit, patience):
                return connection
            second = self._send_hedge(connection, encoded)
            if second is not None:
                return self._first_of_two(connection, second, limit)
            connection.await_reply(limit)
            return connection
        finally:
            # A request that was abandoned counts too: a server that is slow now gets more time.
            endpoint.record_latency(time.monotonic() - sent_at)

    def _send_hedge(self, first: Connection, encoded: bytes) -> Connection | None:
        """Send a request to a second server; return its connection, or None if none is sent."""
        pool, policy = self._pool, self._policy
        if not policy.max_retries or not pool.has_endpoint({first.endpoint}):
            return None
        if not policy.budget.spend(time.monotonic()):
            return None
        second = pool.acquire_other(first, self._cancellation)
        if second is None:
            return None
        try:
            second.send(encoded)
        except BaseException as error:
            pool.close_loser(second, as_cancelled(error, self._cancellation))
            if isinstance(error, ServerUnreachable):
                return None
            raise
        policy.hedges += 1
        return second

    def _first_of_two(self, first: Connection, second: Connection, limit: int) -> Connection:
        """Return the connection over which a byte arrives first, and abandon the other."""
        winner, loser = first, second
        try:
            if first_readable(first, second) is second:
                winner, loser = second, first
            winner.await_reply(limit)
        except ConnectionLost as error:
            self._keep_winner(loser, winner, error)
            loser.await_reply(limit)
            return loser
        except BaseException as error:
            self._pool.close_loser(second, as_cancelled(error, self._cancellation))
            raise
        silence = ServerUnreachable(f"{first.target} was silent when {second.target} replied")
        self._keep_winner(winner, loser, silence if loser is first else None)
        return winner

    def _keep_winner(self, winner: Connection, loser: Connection, error: FibError | None) -> None:
        """Continue with one of two connections.

        Args:
            winner: Connection to continue with.
            loser: Connection to close.
            error: Error for which to set the loser's endpoint aside, or None.
        """
        self._connection = winner
        self._pool.close_loser(loser, error and as_cancelled(error, self._cancellation))

    def progressed(self, deadline: float, *, was_idle: bool) -> None:
        """Reset the failures of this call after a part of the slice has arrived.

        Args:
            deadline: Monotonic deadline of the next part.
            was_idle: Whether the connection waited for a slow reader: the server may have closed
                it for that.
        """
        self._deadline = self._connection.deadline = deadline
        self._connection.was_idle = was_idle
        self._failures = 0
        self._had_stale = False

    def succeeded(self) -> None:
        """Release the connection after a successful attempt."""
        self._pool.release(self._connection)
        self._policy.budget.earn()

    def failed(self, error: BaseException) -> None:
        """Release or close the connection after a failure; wait until the next attempt is due.

        Raises:
            ClientClosed: The client is closed.
            CallCancelled: The call was cancelled.
            BaseException: The error, possibly with the number of attempts, if no attempt follows.
        """
        connection = self._connection
        error = as_cancelled(error, self._cancellation)
        is_stale = connection.was_idle and isinstance(error, ConnectionLost)
        is_rejected = isinstance(error, RequestRefused) and error.code != "SHUTDOWN"
        if is_rejected and not connection.owes_reply:
            self._pool.release(connection)
        else:
            self._pool.discard(connection, error)
        if not isinstance(error, FibError):
            raise error
        if is_stale and not self._had_stale and not self._pool.is_closed:
            # The server had closed an idle connection, which is no failure: use a new one at once.
            self._had_stale = True
        else:
            self._prepare_next(error, {connection.endpoint})

    def _prepare_next(self, error: FibError, failed: Set[Endpoint] = frozenset()) -> None:
        """Wait before the next attempt, or raise if there is none.

        Args:
            error: Why the last attempt failed.
            failed: The endpoint at which it failed, if any.
        """
        pool, policy = self._pool, self._policy
        if pool.is_closed:
            raise ClientClosed("the client is closed") from error
        # A probe may have brought the failed endpoint back already: only others count.
        if not is_retryable(error, pool.has_endpoint(failed)):
            raise error
        self._failures += 1
        now = time.monotonic()
        if self._failures > policy.max_retries or not policy.budget.spend(now):
            raise self._final(error)
        pause = policy.backoff.pause_seconds(self._failures, random.random())
        pause = min(pause, self._deadline - now)
        # Use another endpoint at once; a shortage of descriptors, however, needs time to pass.
        is_unreachable = isinstance(error, ServerUnreachable) and not isinstance(
            error, SocketShortage
        )
        pool.wait(pause, self._cancellation, for_endpoint=is_unreachable)
        if time.monotonic() >= self._deadline:
            raise self._final(error)
        policy.retries += 1

    def _final(self, error: FibError) -> FibError:
        if not isinstance(error, ServerUnreachable) or self._failures < 2:
            return error
        return type(error)(f"{error} (tried {self._failures} times)")
