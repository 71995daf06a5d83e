"""What a request needs from a fibserver before it can be answered, and why it may not get it.

An application that runs on the event loop must not block. It asks for a `Fetch` by calling
`environ["fibweb.fetch"]`, which returns the bytes if they are there, raises `WouldBlock` if they
have been asked for (the application is run again when they have come), or raises `Overloaded`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from fibclient import Cancellation

__all__ = ["Fetch", "Overloaded", "WouldBlock", "run_now"]


class WouldBlock(Exception):
    """The bytes are not in memory; they have been asked for."""


class Overloaded(Exception):
    """The service has too much to do: ask again later.

    Attributes:
        retry_after_seconds: when to ask again, spread at random so that clients do not come back
            all at once.
    """

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Fetch:
    """Some bytes that a fibserver has to be asked for; those with the same key are the same.

    Attributes:
        key: what they are.
        cost_seconds: how long a fibserver is predicted to work for them.
        size_bytes: how many there are.
        run: asks for them, on a thread; raises FibError.
    """

    key: Hashable
    cost_seconds: float = field(compare=False)
    size_bytes: int = field(compare=False)
    run: Callable[[Cancellation | None], bytes] = field(compare=False)


def run_now(fetch: Fetch) -> Any:
    """Return the bytes of a fetch, for servers whose applications may block."""
    return fetch.run(None)
