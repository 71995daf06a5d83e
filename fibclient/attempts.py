"""The tries of one call: each with a connection, until one succeeds or no more are worth it.

    attempts = Attempts(pool, policy, deadline)
    while True:
        connection = attempts.begin()
        try:
            reply = connection.call("PING")
        except BaseException as error:
            attempts.failed(error)  # raises, unless there is to be another try
        else:
            attempts.succeeded()
            return reply

A connection goes back to the pool only when a reply was read to its end, be it an answer or a
refusal; after anything else its next bytes cannot be trusted, and it is closed.
"""

import random
import time
from dataclasses import dataclass

from fibclient.cancellation import Cancellation, as_cancelled
from fibclient.connection import Connection
from fibclient.errors import (
    ClientClosed,
    ConnectionLost,
    FibError,
    RequestRefused,
    ServerUnreachable,
)
from fibclient.pool import ConnectionPool
from fibclient.retry import Backoff, RetryBudget, is_worth_a_retry

__all__ = ["Attempts", "RetryPolicy"]


@dataclass(slots=True)
class RetryPolicy:
    """How often a client tries again, all its calls together.

    Attributes:
        max_retries: for one call, >= 0.
        backoff: the waits between them.
        budget: for all calls.
        retries: how many there have been.
    """

    max_retries: int
    backoff: Backoff
    budget: RetryBudget
    retries: int = 0


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

    def begin(self) -> Connection:
        """Return a connection for the next try.

        Raises:
            FibError: there is none to be had, and no more tries are worth it.
        """
        while True:
            try:
                self._connection = self._pool.borrow(self._deadline, self._cancellation)
            except FibError as error:
                self._prepare_next(error)
            else:
                return self._connection

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
        self._pool.give_back(self._connection)
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
            self._pool.give_back(connection)
        else:
            self._pool.discard(connection, error)
        if not isinstance(error, FibError):
            raise error
        if is_stale and not self._had_stale and not self._pool.is_closed:
            # It was the connection that was old; a fresh one tells how the server is.
            self._had_stale = True
        else:
            self._prepare_next(error)

    def _prepare_next(self, error: FibError) -> None:
        """Wait as long as is right before the next try; raise if there is to be none."""
        pool, policy = self._pool, self._policy
        if pool.is_closed:
            raise ClientClosed("the client is closed") from error
        if not is_worth_a_retry(error, pool.has_endpoint):
            raise error
        self._failures += 1
        now = time.monotonic()
        if self._failures > policy.max_retries or not policy.budget.spend(now):
            raise self._final(error)
        pause = policy.backoff.pause_seconds(self._failures, random.random())
        pause = min(pause, self._deadline - now)
        is_unreachable = isinstance(error, ServerUnreachable)
        pool.wait(pause, self._cancellation, for_endpoint=is_unreachable)
        if time.monotonic() >= self._deadline:
            raise self._final(error)
        policy.retries += 1

    def _final(self, error: FibError) -> FibError:
        if not isinstance(error, ServerUnreachable) or self._failures < 2:
            return error
        return type(error)(f"{error} (tried {self._failures} times)")
