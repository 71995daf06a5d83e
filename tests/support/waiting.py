"""Waiting for what must come, with a deadline that fails loudly."""

import threading
from collections.abc import Callable

__all__ = ["DEADLINE_SECONDS", "wait_until"]

DEADLINE_SECONDS = 30
"""Far above anything seen: reaching it is a failure, not a slow machine."""


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail if it never does."""
    pause = threading.Event()
    for _ in range(DEADLINE_SECONDS * 100):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError(f"never: {what}")
