"""Cached state of the fibservers: whether one answers, their limits, their status.

A thread refreshes it about once a second, so that requests are answered from memory. If it has not
been refreshed for some seconds, the request that needs it fetches it, as it would fetch numbers.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fibclient import Cancellation, FibError
from fibweb.content.fetch import Fetch

__all__ = ["FETCH", "Refresher", "Remembered"]

FETCH = "fibweb.fetch"
"""Where the environ has the function that fetches, if the application must not block."""

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 10.0
"""Longer than two refreshes of a server that hangs."""

ROUND_TRIP_SECONDS = 0.001
"""Predicted cost of a refresh."""

REFRESH_SECONDS = 1.0


class Remembered:
    """A value that expires and is refreshed; for any thread."""

    def __init__(self, name: str, find_out: Callable[[], None]) -> None:
        """Start without a value.

        Args:
            name: identifies the value.
            find_out: obtains and stores the value.
        """
        self._name = name
        self._find_out = find_out
        self._found_at = float("-inf")

    def refresh(self, cancellation: Cancellation | None = None) -> bytes:
        """Obtain the value again; errors of `find_out` are raised."""
        self._find_out()
        self._found_at = time.monotonic()
        return b""

    def ensure(self, fetch: Callable[[Fetch], Any]) -> None:
        """Fetch the value if it has expired.

        Args:
            fetch: runs a fetch; its errors are raised.
        """
        if time.monotonic() - self._found_at > REMEMBERED_SECONDS:
            fetch(Fetch(self._name, ROUND_TRIP_SECONDS, 0, self.refresh))


class Refresher:
    """A thread that calls some functions about once a second, from `start` to `stop`."""

    def __init__(self, name: str, refreshes: Sequence[Callable[[], object]]) -> None:
        """Create the thread without starting it.

        Args:
            name: of the thread.
            refreshes: functions to call; a FibError of theirs is ignored.
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
                try:
                    refresh()
                except FibError as error:
                    log.debug("%s: %s", self._thread.name, error)
                except Exception:
                    log.exception("%s failed", self._thread.name)
            self._is_stopped.wait(REFRESH_SECONDS)

    def stop(self) -> None:
        """Let the thread end; a call under way is not waited for."""
        self._is_stopped.set()
