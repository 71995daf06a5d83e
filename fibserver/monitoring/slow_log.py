"""Slow log: the latest requests that took long to execute, as in Redis's SLOWLOG."""

from collections import deque
from typing import NamedTuple

__all__ = ["MAX_ENTRIES", "SLOW_SECONDS", "SlowLog", "SlowRequest"]

SLOW_SECONDS = 0.01
MAX_ENTRIES = 128
"""Redis's default threshold and length."""

MAX_WORD_BYTES = 128

_SECRET = (b"AUTH", b"HELLO")
"""Commands whose arguments can contain a password."""


class SlowRequest(NamedTuple):
    """Entry of the slow log.

    Attributes:
        number: Unique number of the entry.
        time: Time of the entry, when the reply began or failed, in Unix seconds.
        microseconds: Time from the start of the execution to the first byte of the reply.
        words: Command name and arguments, shortened and without passwords.
        address: Address of the client.
        name: Name of the client.
    """

    number: int
    time: int
    microseconds: int
    words: list[bytes]
    address: str
    name: str


class SlowLog:
    """Latest slow requests.

    Attributes:
        entries: Entries, the newest first.
        total: Number of slow requests since the start.
    """

    def __init__(self) -> None:
        self.entries: deque[SlowRequest] = deque(maxlen=MAX_ENTRIES)
        self.total = 0

    def add(
        self, time: float, seconds: float, words: list[bytes], address: str, name: str
    ) -> None:
        """Add a request; long arguments are truncated and passwords are redacted."""
        if words[0].upper() in _SECRET and len(words) > 1:
            words = [words[0], b"(redacted)"]
        shortened = [word[:MAX_WORD_BYTES] for word in words]
        request = SlowRequest(self.total, int(time), int(seconds * 1e6), shortened, address, name)
        self.entries.appendleft(request)
        self.total += 1

    def clear(self) -> None:
        """Remove all entries; the numbering continues."""
        self.entries.clear()
