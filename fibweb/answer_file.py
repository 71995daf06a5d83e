"""A document as a file whose bytes are in memory, or come a segment at a time.

The HTTP server's event loop must never wait, so it takes only what is at hand: `load` fetches the
next segment, and is for threads. A reader that is slow holds one segment, and neither a thread nor
a connection to a server. To everybody else it is a file to be read, which waits where it must.
"""

import io
from collections.abc import Sequence

from fibclient import FibClient
from fibclient.document import Document

__all__ = ["AnswerFile", "MustWait"]

SEGMENT_BYTES = 1024 * 1024


class MustWait(Exception):
    """What is asked for is not in memory: a thread has to fetch it."""


class AnswerFile:
    """Bytes begin to end-1 of a document.

    Attributes:
        size: how many there are.
    """

    def __init__(self, client: FibClient, document: Document, begin: int, end: int) -> None:
        """Describe a file; nothing is read yet.

        Args:
            client: whom to ask.
            document: what it is of.
            begin: 0 <= begin <= end.
            end: <= the document's size.
        """
        self.size = end - begin
        self._client = client
        self._document = document
        self._begin = begin
        self._end = end
        self._position = 0
        self._views: Sequence[memoryview] = ()  # of the segment at hand
        self._segment_begin = self._segment_end = 0

    def cached(self) -> Sequence[memoryview] | None:
        """Return all the bytes from the client's cache; None if it lacks any of them."""
        return self._document.cached(self._client, self._begin, self._end)

    def open(self, *, may_wait: bool) -> None:
        """Have the first bytes at hand, or all of them if they are in the client's cache.

        Args:
            may_wait: whether a server may be asked.

        Raises:
            MustWait: one would have to be.
            FibError: it was asked, and says no or cannot be reached.
        """
        views = self.cached()
        if views is None and not may_wait:
            raise MustWait
        answer = self._document.answer
        if views is None and self._client.is_cacheable(answer):
            self._client.read(answer.start, answer.stop, answer.format.name)
            views = self.cached()
        if views is None:
            self.load()
        else:
            self._views, self._segment_begin, self._segment_end = views, 0, self.size

    @property
    def is_at_hand(self) -> bool:
        """Whether the bytes at the current position are in memory, or there are no more."""
        is_inside = self._segment_begin <= self._position < self._segment_end
        return is_inside or self._position >= self.size

    @property
    def is_all_at_hand(self) -> bool:
        """Whether `take` returns all that there is from the current position on."""
        return self.is_at_hand and self._segment_end == self.size

    def load(self) -> None:
        """Fetch the segment at the current position; for a thread that may wait.

        Raises:
            FibError: no server could give it.
        """
        begin = self._position
        end = min(self.size, begin + SEGMENT_BYTES)
        pieces = self._document.stream(self._client, self._begin + begin, self._begin + end)
        segment = b"".join(map(bytes, pieces))
        self._views = [memoryview(segment)]
        self._segment_begin, self._segment_end = begin, end

    def take(self) -> Sequence[memoryview]:
        """Return what is at hand from the current position on, let go of it, and move behind."""
        taken: Sequence[memoryview] = ()
        if self.is_at_hand:
            taken = _behind(self._views, self._position - self._segment_begin)
            self._position = max(self._position, self._segment_end)
        self._forget()
        return taken

    def read(self, size: int = -1) -> memoryview:
        """Return some bytes, fetched if need be; fewer than asked for where a view ends."""
        if not self.is_at_hand:
            self.load()
        skip = self._position - self._segment_begin
        for view in self._views:
            if skip < len(view):
                piece = view[skip:] if size < 0 else view[skip : skip + size]
                self._position += len(piece)
                return piece
            skip -= len(view)
        return memoryview(b"")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as with any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def seekable(self) -> bool:
        """Whether `seek` works."""
        return True

    def close(self) -> None:
        """Let go of the bytes at hand."""
        self._forget()

    def _forget(self) -> None:
        self._views = ()
        self._segment_begin = self._segment_end = 0


def _behind(views: Sequence[memoryview], skip: int) -> Sequence[memoryview]:
    """Return some bytes without the first of them."""
    while skip and views:
        first, *others = views
        views = [first[skip:], *others] if skip < len(first) else others
        skip = max(0, skip - len(first))
    return views
