"""Listings: texts with a line for each client, built a few lines at a time.

A listing of ten thousand clients is 0.1 s of work and some megabytes. So one listing is built
at a time, by whoever waits for one: each step of a waiting request adds a few lines to the
first listing of the queue. Requests for the same listing share it if it has not been begun.
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from itertools import islice

from fibserver.replies import encode

__all__ = ["LINES_PER_STEP", "Listings"]

LINES_PER_STEP = 16
"""About 0.2 ms of work."""


class _Listing:
    """One text under construction."""

    __slots__ = ("begin", "key", "lines", "parts", "readers", "reply")

    def __init__(self, key: Hashable, begin: Callable[[], Iterator[str]]) -> None:
        self.key = key
        self.begin = begin
        self.lines: Iterator[str] | None = None
        self.parts: list[str] = []
        self.readers = 0
        self.reply = b""


class Listings:
    """The listings that requests wait for."""

    def __init__(self) -> None:
        self._queue: deque[_Listing] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def read(
        self, key: Hashable, begin: Callable[[], Iterator[str]]
    ) -> Generator[bytes, None, None]:
        """Yield nothing (`b""`) after each step, and in the end the reply: one bulk string.

        Args:
            key: equal for requests that ask for the same lines.
            begin: returns the lines, which come one by one. An empty line only takes time.
        """
        listing = self._joined(key, begin)
        listing.readers += 1
        try:
            while not listing.reply:
                self._step()
                yield b""
            yield listing.reply
        finally:
            listing.readers -= 1
            if not listing.readers and listing in self._queue:
                self._queue.remove(listing)  # nobody waits for it any more

    def _joined(self, key: Hashable, begin: Callable[[], Iterator[str]]) -> _Listing:
        for listing in reversed(self._queue):
            if listing.lines is None and listing.key == key:
                return listing
        listing = _Listing(key, begin)
        self._queue.append(listing)
        return listing

    def _step(self) -> None:
        listing = self._queue[0]
        if listing.lines is None:
            listing.lines = listing.begin()
        lines = list(islice(listing.lines, LINES_PER_STEP))
        listing.parts.append("".join(lines))
        if len(lines) < LINES_PER_STEP:
            listing.reply = encode("".join(listing.parts))
            self._queue.popleft()
