"""Listings: texts with a line for each client, built a few lines at a time.

A listing of ten thousand clients is 0.1 s of work and some megabytes. So one listing is built
at a time, by whoever waits for one: each step of a waiting request adds a few lines to the
first listing of the queue. Requests for the same listing share it if it has not been begun.
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from itertools import islice

from fibserver.protocol.reply_encoding import encode

__all__ = ["LINES_PER_STEP", "Listings"]

LINES_PER_STEP = 16
"""About 0.2 ms of work."""


class _Listing:
    """One text under construction."""

    __slots__ = ("begin", "error", "key", "lines", "parts", "readers", "reply")

    def __init__(self, key: Hashable, begin: Callable[[], Iterator[str]]) -> None:
        self.key = key
        self.begin = begin
        self.lines: Iterator[str] | None = None
        self.parts: list[str] = []
        self.readers = 0
        self.reply = b""
        self.error: Exception | None = None


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

        Raises:
            Exception: what `begin` or its iterator raised.
        """
        listing = self._joined(key, begin)
        listing.readers += 1
        try:
            while not listing.reply and listing.error is None:
                self._step()
                yield b""
            if listing.error is not None:
                raise listing.error
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
        """Add a few lines to the first listing; if that fails, only its own readers fail."""
        listing = self._queue[0]
        try:
            if listing.lines is None:
                listing.lines = listing.begin()
            lines = list(islice(listing.lines, LINES_PER_STEP))
            listing.parts.append("".join(lines))
            if len(lines) < LINES_PER_STEP:
                listing.reply = encode("".join(listing.parts))
        except Exception as error:
            listing.error = error
        if listing.reply or listing.error is not None:
            self._queue.popleft()
