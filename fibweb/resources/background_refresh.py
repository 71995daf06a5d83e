"""Cached state of the fibservers: readiness, limits and status.

A thread refreshes it about once a second, so that requests are answered from memory. If a value
has expired, the request that needs it fetches it, in the same way as numbers.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fibclient import Cancellation, FibError
from fibweb.content.fetch_request import FetchRequest

__all__ = ["Expiry", "Refresher"]

log = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
"""A value expires after this time, longer than two refreshes from a server that hangs."""

ROUND_TRIP_SECONDS = 0.001
"""Predicted cost of a refresh."""

REFRESH_SECONDS = 1.0


class Expiry:
    """Expiry of a value that its owner stores. Thread-safe."""

    def __init__(self, name: str, update: Callable[[], None]) -> None:
        """Start with an expired value.

        Args:
            name: Key of the fetch that updates the value.
            update: Obtains and stores the value.
        """
        self._name = name
        self._update = update
        self._updated_at = float("-inf")

    def refresh(self, cancellation: Cancellation | None = None) -> bytes:
        """Update the value; errors of `update` propagate."""
        self._update()
        self._updated_at = time.monotonic()
        return b""

    def ensure_fresh(self, fetch: Callable[[FetchRequest], Any]) -> None:
        """Fetch the value if it has expired.

        Args:
            fetch: Runs a fetch; its errors propagate.
        """
        if time.monotonic() - self._updated_at > FRESH_SECONDS:
            fetch(FetchRequest(self._name, ROUND_TRIP_SECONDS, 0, self.refresh))


class Refresher:
    """Thread that calls functions about once a second."""

    def __init__(self, name: str, refreshes: Sequence[Callable[[], object]]) -> None:
        """Create the thread without starting it.

        Args:
            name: Name of the thread.
            refreshes: Functions to call. Their errors are logged.
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
        """Stop the thread, without waiting for a call in progress."""
        self._is_stopped.set()
