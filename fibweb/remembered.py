"""What is found out by asking fibservers, and remembered: whether one answers, and their limits.

A thread renews it about once a second, so that requests are answered from memory. Where nobody has
renewed it for some seconds, the request that needs it has it fetched as it would fetch numbers.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from fibclient import Cancellation, FibError
from fibweb.fetch import Fetch

__all__ = ["FETCH", "Refresher", "Remembered"]

FETCH = "fibweb.fetch"
"""Where the environ has the function that fetches, if the application must not block."""

REMEMBERED_SECONDS = 5.0
ROUND_TRIP_SECONDS = 0.001
"""The predicted cost of finding out."""

REFRESH_SECONDS = 1.0


class Remembered:
    """Something that is found out now and then; for any thread."""

    def __init__(self, name: str, find_out: Callable[[], None]) -> None:
        """Start without knowing it.

        Args:
            name: what it is.
            find_out: finds it out, and keeps it.
        """
        self._name = name
        self._find_out = find_out
        self._found_at = float("-inf")

    def refresh(self, cancellation: Cancellation | None = None) -> bytes:
        """Find it out anew; what `find_out` raises passes through."""
        self._find_out()
        self._found_at = time.monotonic()
        return b""

    def ensure(self, fetch: Callable[[Fetch], Any]) -> None:
        """Have it found out if that was too long ago.

        Args:
            fetch: runs a fetch; what it raises passes through.
        """
        if time.monotonic() - self._found_at > REMEMBERED_SECONDS:
            fetch(Fetch(self._name, ROUND_TRIP_SECONDS, 0, self.refresh))


class Refresher:
    """A thread that calls some functions about once a second, from `start` to `stop`."""

    def __init__(self, name: str, refreshes: Sequence[Callable[[], object]]) -> None:
        """Describe the thread.

        Args:
            name: of the thread.
            refreshes: what to call; a FibError is left to whoever wants to know.
        """
        self._refreshes = refreshes
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            for refresh in self._refreshes:
                with suppress(FibError):
                    refresh()
            self._is_stopped.wait(REFRESH_SECONDS)

    def stop(self) -> None:
        """Let the thread end; a call under way is not waited for."""
        self._is_stopped.set()
