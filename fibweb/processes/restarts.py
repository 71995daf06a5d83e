"""When to start again what has ended: at once, then after growing pauses.

It decides; it starts nothing and looks at no clock.
"""

__all__ = ["RestartPlan"]

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""What ran so long had started well: its end is a new story."""


class RestartPlan:
    """When something may be started, by how it fared before.

    Attributes:
        due_at: from when on it may be started; the monotonic time in seconds.
        failures: how often in a row it did not last.
    """

    def __init__(self) -> None:
        """Allow the first start at once."""
        self.due_at = float("-inf")
        self.failures = 0
        self._started_at = 0.0

    def started(self, now: float) -> None:
        """Note a start."""
        self._started_at = now

    def ended(self, now: float) -> None:
        """Note an end that was not asked for, and plan the next start."""
        self.failures = 0 if now - self._started_at >= STEADY_SECONDS else self.failures + 1
        pause = 0.0
        if self.failures > 1:
            doublings = min(self.failures - 2, 30)
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**doublings)
        self.due_at = now + pause
