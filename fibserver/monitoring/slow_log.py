"""The slow log: the last requests that took long to execute, as Redis's SLOWLOG."""

from collections import deque
from typing import NamedTuple

__all__ = ["MAX_ENTRIES", "SLOW_SECONDS", "SlowLog", "SlowRequest"]

SLOW_SECONDS = 0.01
MAX_ENTRIES = 128
"""Redis's defaults for both."""

MAX_WORD_BYTES = 128

_SECRET = (b"AUTH", b"HELLO")
"""The commands whose arguments may hold a password."""


class SlowRequest(NamedTuple):
    """One entry.

    Attributes:
        number: no other entry of this server has had it.
        time: of the reply, in Unix seconds.
        microseconds: from the start of its execution to the first byte of its reply.
        words: the request.
        address: the client's.
        name: what the client calls itself.
    """

    number: int
    time: int
    microseconds: int
    words: list[bytes]
    address: str
    name: str


class SlowLog:
    """The last slow requests, the newest first.

    Attributes:
        entries: what there is.
        total: how many there have been.
    """

    def __init__(self) -> None:
        self.entries: deque[SlowRequest] = deque(maxlen=MAX_ENTRIES)
        self.total = 0

    def add(
        self, time: float, seconds: float, words: list[bytes], address: str, name: str
    ) -> None:
        """Enter a request; a long word is cut, and a password left out."""
        if words[0].upper() in _SECRET and len(words) > 1:
            words = [words[0], b"(redacted)"]
        kept = [word[:MAX_WORD_BYTES] for word in words]
        request = SlowRequest(self.total, int(time), int(seconds * 1e6), kept, address, name)
        self.entries.appendleft(request)
        self.total += 1

    def clear(self) -> None:
        """Forget all entries."""
        self.entries.clear()
