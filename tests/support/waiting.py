"""Waiting for a condition with a deadline."""

import threading
from collections.abc import Callable

__all__ = ["DEADLINE_SECONDS", "wait_until"]

DEADLINE_SECONDS = 30
"""Far above anything seen: reaching it is a failure, not a slow machine."""


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true; fail at the deadline."""
    pause = threading.Event()
    for _ in range(DEADLINE_SECONDS * 100):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError(f"never: {what}")
