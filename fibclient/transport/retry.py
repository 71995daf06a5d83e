"""Retry policy: which failures are retried, after what delay, and how many at most.

Every request is idempotent, so it may be repeated. Clients must not amplify an outage: delays
grow and are spread over their whole range ("full jitter": Marc Brooker, Exponential Backoff And
Jitter, 2015), and a budget bounds the share of requests that are retries (as in gRPC's proposal
A6).
"""

from typing import NamedTuple

from fibclient.errors import (
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)

__all__ = ["Backoff", "RetryBudget", "is_retryable"]


class Backoff(NamedTuple):
    """Exponential backoff with full jitter.

    Attributes:
        base_seconds: Upper bound of the first delay; it doubles with each failure.
        cap_seconds: Upper bound of all delays.
    """

    base_seconds: float
    cap_seconds: float

    def pause_seconds(self, failures: int, share: float) -> float:
        """Return the delay before the next attempt.

        Args:
            failures: Number of failures so far, >= 1.
            share: Random number from 0 to 1.
        """
        # Bounds the exponent; the cap is reached long before 2^30.
        return share * min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))


class RetryBudget:
    """Token bucket for retries and hedged requests.

    Each of them costs ten tokens, and a successful request earns one.

    Tokens are also added over time, for clients that send few requests.
    """

    CAPACITY = 1000
    PER_RETRY = 10
    PER_SECOND = 100

    def __init__(self, now: float) -> None:
        """Create a full budget.

        Args:
            now: Current monotonic time.
        """
        self._tokens = float(self.CAPACITY)
        self._counted_until = now

    def earn(self) -> None:
        """Add the token of a successful request."""
        self._tokens = min(self.CAPACITY, self._tokens + 1)

    def spend(self, now: float) -> bool:
        """Take the tokens for a retry; return False if there are too few."""
        passed = (now - self._counted_until) * self.PER_SECOND
        self._counted_until = now
        self._tokens = min(self.CAPACITY, self._tokens + passed)
        if self._tokens < self.PER_RETRY:
            return False
        self._tokens -= self.PER_RETRY
        return True


def is_retryable(error: FibError, has_others: bool) -> bool:
    """Return whether a request may succeed if it is retried.

    Args:
        error: Why it failed.
        has_others: Whether another server is available.
    """
    if isinstance(error, RequestRefused):
        return error.is_temporary
    if isinstance(error, ServerMisbehaved):
        return has_others
    return isinstance(error, ServerUnreachable) and not isinstance(error, DeadlineExceeded)
