"""Fetch from a fibserver, as the application requests it from the HTTP server.

An application that runs on the event loop must not block. It calls `environ["fibweb.fetch"]` with
a `Fetch`. That returns the bytes if they have been fetched, raises `WouldBlock` if it has queued
the fetch (the application is run again after it), or raises `Overloaded`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from fibclient import Cancellation

__all__ = ["Fetch", "Overloaded", "WouldBlock", "run_now"]


class WouldBlock(Exception):
    """The bytes are not in memory; they are being fetched."""


class Overloaded(Exception):
    """The service has too much to do: try again later.

    Attributes:
        retry_after_seconds: when to try again, random so that clients do not return all at once.
    """

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bytes to request from a fibserver; equal keys mean equal bytes.

    Attributes:
        key: identifies the bytes.
        cost_seconds: how long a fibserver is predicted to work for them.
        size_bytes: how many there are.
        run: requests them, on a thread; raises FibError.
    """

    key: Hashable
    cost_seconds: float = field(compare=False)
    size_bytes: int = field(compare=False)
    run: Callable[[Cancellation | None], bytes] = field(compare=False)


def run_now(fetch: Fetch) -> Any:
    """Run a fetch and return its bytes, under servers whose applications may block."""
    return fetch.run(None)
