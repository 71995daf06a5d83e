"""Protocol by which the application lets the HTTP server fetch bytes from a fibserver.

An application on the event loop must not block. It calls `environ["fibweb.fetch"]` with a
`FetchRequest`, which returns the bytes if they were fetched already. Otherwise it queues the fetch
and raises `WouldBlock`; the server runs the application again afterwards. If the queue is full, it
raises `Overloaded`.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from fibclient import Cancellation, EncodedSlice, FibClient

__all__ = ["FETCH", "FetchRequest", "Overloaded", "SliceRead", "WouldBlock", "run_now"]

FETCH = "fibweb.fetch"
"""Environ key of the fetch function; missing if the application may block."""


class WouldBlock(Exception):
    """The bytes are not in memory; a fetch was queued."""


class Overloaded(Exception):
    """The service is overloaded.

    Attributes:
        retry_after_seconds: Delay before a retry, randomized to spread the retries of clients.
    """

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        """Set the message and the delay.

        Args:
            message: What is exhausted, for the log and the response.
            retry_after_seconds: Delay before a retry.
        """
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SliceRead(NamedTuple):
    """A slice and the client that reads it."""

    client: FibClient
    slice: EncodedSlice


class FetchRequest(NamedTuple):
    """Bytes to fetch from a fibserver.

    Attributes:
        key: Identity of the bytes: equal keys mean equal bytes.
        cost_seconds: Predicted computing time of the fibserver.
        size_bytes: Number of bytes.
        run: Fetches the bytes; blocks, and raises FibError.
        read: What `run` reads with the client library; None if it does something else. Small
            slices are read several at a time.
    """

    key: Hashable
    cost_seconds: float
    size_bytes: int
    run: Callable[[Cancellation | None], bytes]
    read: SliceRead | None = None


def run_now(fetch: FetchRequest) -> Any:
    """Run a fetch in the calling thread, for servers whose applications may block."""
    return fetch.run(None)
