"""A document as a file whose bytes are in memory, or come a segment at a time.

The event loop reads from it and must never wait, so it reads only what is there: `load` fetches
the next segment, and is for threads. A reader that is slow holds one segment, and neither a thread
nor a connection to a server.
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
        self._views: Sequence[memoryview] = ()  # of one segment
        self._segment_begin = self._segment_end = 0

    def open(self, *, may_wait: bool) -> None:
        """Have the first bytes at hand, or all of them if they are in the client's cache.

        Args:
            may_wait: whether a server may be asked.

        Raises:
            MustWait: one would have to be.
            FibError: it was asked, and says no or cannot be reached.
        """
        views = self._document.cached(self._client, self._begin, self._end)
        if views is None and not may_wait:
            raise MustWait
        answer = self._document.answer
        if views is None and self._client.is_cacheable(answer):
            self._client.read(answer.start, answer.stop, answer.format.name)
            views = self._document.cached(self._client, self._begin, self._end)
        if views is None:
            self.load()
        else:
            self._views, self._segment_end = views, self.size

    @property
    def is_loaded(self) -> bool:
        """Whether the bytes at the current position are at hand, or there are no more."""
        is_inside = self._segment_begin <= self._position < self._segment_end
        return is_inside or self._position == self.size

    def load(self) -> None:
        """Fetch the segment at the current position; for a thread that may wait."""
        begin = self._position
        end = min(self.size, begin + SEGMENT_BYTES)
        pieces = self._document.stream(self._client, self._begin + begin, self._begin + end)
        segment = b"".join(map(bytes, pieces))
        self._views = [memoryview(segment)]
        self._segment_begin, self._segment_end = begin, end

    def views(self) -> Sequence[memoryview]:
        """Return all that is at hand: the whole file, if it came from the cache."""
        return self._views

    def read(self, size: int = -1) -> memoryview:
        """Return some of the bytes at hand, fewer than asked for where one view of them ends."""
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
        """Let go of the bytes."""
        self._views = ()
        self._segment_begin = self._segment_end = 0
