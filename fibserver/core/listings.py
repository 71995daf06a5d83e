"""Listings with a line per client, built in small steps.

A listing of ten thousand clients takes 0.1 s and some megabytes. So only one listing is built at
a time: each step of any waiting request adds a few lines to the first listing in the queue.
Requests for the same lines share a listing that has not been started.
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from itertools import islice

from fibserver.protocol.reply_encoding import encode

__all__ = ["LINES_PER_STEP", "Listings"]

LINES_PER_STEP = 16
"""These take about 0.2 ms."""


class _Listing:
    """One listing that is queued or being built."""

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
    """Queue of the listings that requests wait for."""

    def __init__(self) -> None:
        self._queue: deque[_Listing] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def read(
        self, key: Hashable, begin: Callable[[], Iterator[str]]
    ) -> Generator[bytes, None, None]:
        """Yield `b""` after each step, and finally the reply, a bulk string.

        Args:
            key: Equal for requests of the same lines.
            begin: Returns an iterator of the lines. An empty line counts as work of a step.

        Raises:
            Exception: Any exception of `begin` or its iterator.
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
                self._queue.remove(listing)  # its last reader has been closed

    def _joined(self, key: Hashable, begin: Callable[[], Iterator[str]]) -> _Listing:
        for listing in reversed(self._queue):
            if listing.lines is None and listing.key == key:
                return listing
        listing = _Listing(key, begin)
        self._queue.append(listing)
        return listing

    def _step(self) -> None:
        """Add a few lines to the first listing; an error is raised to its own readers only."""
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
