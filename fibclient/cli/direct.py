"""Connections with nothing between a diagnosis and the server: no pool, no retries."""

import time

from fibclient.address import Target
from fibclient.connection import Connection
from fibclient.endpoints import Endpoint
from fibclient.errors import ServerMisbehaved
from fibclient.resp import Reply

__all__ = ["DirectConnection"]


class DirectConnection:
    """One connection to one place, every step bounded by the same patience."""

    def __init__(self, target: Target, patience_seconds: float) -> None:
        """Connect; the password is to be said by `call`.

        Args:
            target: where to.
            patience_seconds: for each step, > 0.

        Raises:
            ServerUnreachable: there is no connection to be had.
        """
        self._patience = patience_seconds
        self._connection = Connection(Endpoint(target), patience_seconds)
        self._connection.deadline = time.monotonic() + patience_seconds
        try:
            self._connection.open(patience_seconds, password=None)
        except BaseException:
            self.close()
            raise

    def call(self, *words: str | int) -> Reply:
        """Return the reply to a request.

        Raises:
            FibError: there is none, or it is a refusal.
        """
        self._connection.deadline = time.monotonic() + self._patience
        return self._connection.call(*words)

    def information(self) -> str:
        """Return the text of INFO ALL.

        Raises:
            FibError: there is none.
        """
        text = self.call("INFO", "all")
        if not isinstance(text, bytes):
            raise ServerMisbehaved(f"INFO was answered with {text!r:.64}")
        return text.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
