"""The tries of one call: each with a connection, until one succeeds or no more are worth it.

    attempts = Attempts(pool, policy, deadline)
    while True:
        attempts.begin()
        try:
            reply = attempts.call("PING")
        except BaseException as error:
            attempts.failed(error)  # raises, unless there is to be another try
        else:
            attempts.succeeded()
            return reply

A connection goes back to the pool only when a reply was read to its end, be it an answer or a
refusal; after anything else its next bytes cannot be trusted, and it is closed.

A try may be hedged (`fibclient.transport.hedging`): then the request is on its way over two
connections, and the one where nothing has come when something comes over the other is abandoned.
"""

import random
import time
from collections.abc import Set
from dataclasses import dataclass

from fibclient.cancellation import Cancellation, as_cancelled
from fibclient.connections.connection import (
    READ_AHEAD_BYTES,
    STEP_BYTES,
    Connection,
    first_readable,
)
from fibclient.connections.encoded_slice import Request
from fibclient.connections.endpoints import Endpoint
from fibclient.connections.resp import Reply, encode_request
from fibclient.errors import (
    ClientClosed,
    ConnectionLost,
    FibError,
    RequestRefused,
    ServerUnreachable,
    SocketShortage,
)
from fibclient.transport.hedging import patience_seconds
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.retry import Backoff, RetryBudget, is_worth_a_retry
from fibcommon.costs import DEAR_SECONDS

__all__ = ["Attempts", "RetryPolicy"]


@dataclass(slots=True)
class RetryPolicy:
    """How often a client tries again, all its calls together.

    Attributes:
        max_retries: for one call, >= 0.
        backoff: the waits between them.
        budget: for all calls.
        retries: how many there have been.
        hedges: how often a second server was asked while the first was silent.
    """

    max_retries: int
    backoff: Backoff
    budget: RetryBudget
    retries: int = 0
    hedges: int = 0


class Attempts:
    """The tries of one call."""

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
        """Describe the tries of a call.

        Args:
            pool: lends the connections.
            policy: how often, for all calls.
            deadline: when the call must have ended, monotonic.
            cancellation: ends it before.
        """
        self._pool = pool
        self._cancellation = cancellation
        self._policy = policy
        self._deadline = deadline
        self._failures = 0
        self._had_stale = False

    def begin(self) -> None:
        """Borrow a connection for the next try.

        Raises:
            FibError: there is none to be had, and no more tries are worth it.
        """
        while True:
            try:
                self._connection = self._pool.acquire(self._deadline, self._cancellation)
            except FibError as error:
                self._prepare_next(error)
            else:
                return

    def call(self, *words: str | int) -> Reply:
        """Send a request other than for an answer, and return its reply.

        Raises:
            as `Connection.call`.
        """
        return self._first_to_reply(encode_request(*words), STEP_BYTES, 0.0).read_reply()

    def ask(self, request: Request) -> Connection:
        """Send a request for an answer; return a connection where its first byte is next.

        Raises:
            as `Connection.call`.
        """
        header = request.header
        reply_bytes = len(header) + request.size + len(b"\r\n")
        # A small reply comes in one piece; a byte more would be one that nobody asked for. Of a
        # large one only the header is read here: the answer is received where it is to stay.
        limit = reply_bytes + 1 if reply_bytes < READ_AHEAD_BYTES else len(header)
        connection = self._first_to_reply(request.encoded, limit, request.cost_seconds)
        connection.read_header(request)
        return connection

    def _first_to_reply(self, encoded: bytes, limit: int, cost_seconds: float) -> Connection:
        """Send a request; return the connection by which the first byte of its reply came."""
        connection = self._connection
        connection.send(encoded)
        if not self._pool.has_several or cost_seconds > DEAR_SECONDS:
            connection.await_reply(limit)
            return connection
        endpoint = connection.endpoint
        sent_at = time.monotonic()
        try:
            patience = patience_seconds(endpoint.latency_seconds, cost_seconds)
            if connection.await_reply(limit, patience):
                return connection
            second = self._second(connection, encoded)
            if second is not None:
                return self._winner(connection, second, limit)
            connection.await_reply(limit)
            return connection
        finally:
            # Of a request that was given up too: less is expected of a server that is slow now.
            endpoint.note_latency(time.monotonic() - sent_at)

    def _second(self, first: Connection, encoded: bytes) -> Connection | None:
        """Send a request to a second server; return None if that is not to be done."""
        pool, policy = self._pool, self._policy
        if not policy.max_retries or not pool.has_endpoint({first.endpoint}):
            return None
        if not policy.budget.spend(time.monotonic()):
            return None
        second = pool.borrow_second(first, self._cancellation)
        if second is None:
            return None
        try:
            second.send(encoded)
        except BaseException as error:
            pool.drop(second, as_cancelled(error, self._cancellation))
            if isinstance(error, ServerUnreachable):
                return None
            raise
        policy.hedges += 1
        return second

    def _winner(self, first: Connection, second: Connection, limit: int) -> Connection:
        """Return the connection where the first byte comes first, and abandon the other."""
        winner, loser = first, second
        try:
            if first_readable(first, second) is second:
                winner, loser = second, first
            winner.await_reply(limit)
        except ConnectionLost as error:
            self._settle(loser, winner, error)
            loser.await_reply(limit)
            return loser
        except BaseException as error:
            self._pool.drop(second, as_cancelled(error, self._cancellation))
            raise
        silence = ServerUnreachable(f"{first.target} was silent when {second.target} answered")
        self._settle(winner, loser, silence if loser is first else None)
        return winner

    def _settle(self, winner: Connection, loser: Connection, error: FibError | None) -> None:
        """Go on with one of two connections.

        Args:
            winner: to go on with.
            loser: to be closed.
            error: for which its endpoint is set aside, if it is.
        """
        self._connection = winner
        self._pool.drop(loser, error and as_cancelled(error, self._cancellation))

    def progressed(self, deadline: float, *, was_idle: bool) -> None:
        """Note that some of the answer has come: failures so far are forgiven.

        Args:
            deadline: for the next of it.
            was_idle: whether the connection had to wait for the caller: a server may have closed
                it for that.
        """
        self._deadline = self._connection.deadline = deadline
        self._connection.was_idle = was_idle
        self._failures = 0
        self._had_stale = False

    def succeeded(self) -> None:
        """Take the connection back: it gave what was wanted."""
        self._pool.release(self._connection)
        self._policy.budget.earn()

    def failed(self, error: BaseException) -> None:
        """Take the connection back after a failure; return when it is time for the next try.

        Raises:
            the error, if there is to be no other try; `ClientClosed` if the client is closed,
            `CallCancelled` if the call was cancelled.
        """
        connection = self._connection
        error = as_cancelled(error, self._cancellation)
        is_stale = connection.was_idle and isinstance(error, ConnectionLost)
        is_refusal = isinstance(error, RequestRefused) and error.code != "SHUTDOWN"
        if is_refusal and not connection.owes_reply:
            self._pool.release(connection)
        else:
            self._pool.discard(connection, error)
        if not isinstance(error, FibError):
            raise error
        if is_stale and not self._had_stale and not self._pool.is_closed:
            # It was the connection that was old; a fresh one tells how the server is.
            self._had_stale = True
        else:
            self._prepare_next(error, {connection.endpoint})

    def _prepare_next(self, error: FibError, besides: Set[Endpoint] = frozenset()) -> None:
        """Wait as long as is right before the next try; raise if there is to be none.

        Args:
            error: why the last one failed.
            besides: the endpoint that it failed at, if it was one.
        """
        pool, policy = self._pool, self._policy
        if pool.is_closed:
            raise ClientClosed("the client is closed") from error
        # A probe may have brought the endpoint that failed back already: it is no other server.
        if not is_worth_a_retry(error, pool.has_endpoint(besides)):
            raise error
        self._failures += 1
        now = time.monotonic()
        if self._failures > policy.max_retries or not policy.budget.spend(now):
            raise self._final(error)
        pause = policy.backoff.pause_seconds(self._failures, random.random())
        pause = min(pause, self._deadline - now)
        # To another endpoint at once; but a descriptor becomes free only with time.
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
