"""Restart policy for a process: at once after the first failure, then with exponential backoff.

It only computes times: the caller passes the clock and starts the process.
"""

__all__ = ["RestartPlan"]

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A process that ran this long resets the backoff."""


class RestartPlan:
    """Earliest time of the next start, by the failures before it.

    Attributes:
        due_at: Earliest time of the next start, monotonic, in seconds.
        failures: Number of consecutive failures; a run of `STEADY_SECONDS` resets it.
    """

    def __init__(self) -> None:
        """Create a plan that allows the first start at once."""
        self.due_at = float("-inf")
        self.failures = 0
        self._started_at = 0.0

    def started(self, now: float) -> None:
        """Record a start."""
        self._started_at = now

    def ended(self, now: float) -> None:
        """Record an unexpected end, and plan the next start."""
        self.failures = 0 if now - self._started_at >= STEADY_SECONDS else self.failures + 1
        pause = 0.0
        if self.failures > 1:
            doublings = min(self.failures - 2, 30)
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**doublings)
        self.due_at = now + pause
