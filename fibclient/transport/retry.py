"""When to try again: how long to wait, and how often at all.

Every request may be repeated, since it changes nothing. What must be avoided is that clients
multiply an outage: waits grow and are spread over their whole range ("full jitter": Marc
Brooker, Exponential Backoff And Jitter, 2015), and a budget bounds the share of requests that
are repeats (as in gRPC's proposal A6).
"""

from typing import NamedTuple

from fibclient.errors import (
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)

__all__ = ["Backoff", "RetryBudget", "is_worth_a_retry"]

_TRY_AGAIN = {"BUSY", "NOSPACE", "SHUTDOWN"}
"""The refusals that another moment, or another server, may take back."""


_TOO_MANY_CLIENTS = "ERR max number of clients reached"
"""Redis has no code of its own for this, and neither has fibserver."""


class Backoff(NamedTuple):
    """Waits that double.

    Attributes:
        base_seconds: the longest first wait.
        cap_seconds: the longest of all.
    """

    base_seconds: float
    cap_seconds: float

    def pause_seconds(self, failures: int, share: float) -> float:
        """Return how long to wait.

        Args:
            failures: so far, >= 1.
            share: a random number, 0 to 1.
        """
        # Beyond 2^30 the cap has long been reached.
        return share * min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))


class RetryBudget:
    """Tokens: a retry takes ten, a request that succeeds brings one, and so does time.

    Time brings some so that a client that asks seldom is not left without for ever.
    """

    CAPACITY = 1000
    PER_RETRY = 10
    PER_SECOND = 100

    def __init__(self, now: float) -> None:
        """Start with a full budget.

        Args:
            now: monotonic, in seconds.
        """
        self._tokens = float(self.CAPACITY)
        self._counted_until = now

    def earn(self) -> None:
        """Count a request that succeeded."""
        self._tokens = min(self.CAPACITY, self._tokens + 1)

    def spend(self, now: float) -> bool:
        """Take the tokens for a retry, if there are enough."""
        passed = (now - self._counted_until) * self.PER_SECOND
        self._counted_until = now
        self._tokens = min(self.CAPACITY, self._tokens + passed)
        if self._tokens < self.PER_RETRY:
            return False
        self._tokens -= self.PER_RETRY
        return True


def is_worth_a_retry(error: FibError, has_others: bool) -> bool:
    """Tell whether a request may succeed if it is tried again.

    Args:
        error: why it failed.
        has_others: whether there is another server that may be asked.
    """
    if isinstance(error, RequestRefused):
        return error.code in _TRY_AGAIN or str(error) == _TOO_MANY_CLIENTS
    if isinstance(error, ServerMisbehaved):
        return has_others
    return isinstance(error, ServerUnreachable) and not isinstance(error, DeadlineExceeded)
