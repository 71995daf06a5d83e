"""File interface to a document whose bytes are cached or fetched in pieces.

A piece is a run of whole elements of about one mebibyte, and at least one element, so a large
element is fetched only once. A file holds at most one fetched piece until it is sent or dropped.
Bytes in the cache of the client library are looked up each time and never held. So a slow reader
keeps at most one piece in memory.

The event loop of the HTTP server must not block: it sends the bytes from `views`, and a thread
runs the fetch from `next_fetch`. Other callers use `read`, which blocks.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

from fibclient import Cancellation, Document, EncodedSlice, FibClient
from fibcommon.costs import slice_seconds
from fibweb.content.fetch_request import FetchRequest, SliceRead

__all__ = ["PIECE_BYTES", "SMALL_PIECE_BYTES", "DocumentFile", "needs_several_requests"]

PIECE_BYTES = 1024 * 1024
SMALL_PIECE_BYTES = 64 * 1024
"""Size of a piece while memory is short."""

SEND_BYTES = 4 * 1024 * 1024
"""Limit of `views`, more than a socket accepts in one call."""


class _Piece(NamedTuple):
    """Whole elements of a document, and at its ends the opening or the closing.

    Attributes:
        slice: Slice of the elements.
        begin: Offset of the first byte in the document.
        end: Offset after the last byte.
    """

    slice: EncodedSlice
    begin: int
    end: int


class DocumentFile:
    """Bytes begin to end-1 of a document, as a file.

    Attributes:
        size: Number of bytes.
    """

    def __init__(self, client: FibClient, document: Document, begin: int, end: int) -> None:
        """Open a file without fetching anything.

        Args:
            client: Client for the fibservers.
            document: The document.
            begin: First byte, 0 <= begin <= end.
            end: Byte after the last, <= the size of the document.
        """
        self.size = end - begin
        self._client = client
        self._document = document
        self._begin = begin
        self._end = end
        self._position = begin  # in the document, like all private positions
        self._wanted: _Piece | None = None
        self._held: list[memoryview] = []
        self._held_begin = self._held_end = 0

    def reopened(self) -> "DocumentFile":
        """Return a new file of the same bytes, at its beginning."""
        return DocumentFile(self._client, self._document, self._begin, self._end)

    @property
    def is_cached(self) -> bool:
        """Whether the cache of the client has all bytes."""
        opening, slice_, _ = self._document
        end = min(self._end, len(opening) + slice_.size)
        # The cache holds a prefix of the sequence: if it has the last byte, it has all.
        return end <= self._begin or bool(self._cached(end - 1, end))

    @property
    def held_bytes(self) -> int:
        """Number of bytes held for this file, outside of the cache."""
        return self._held_end - self._held_begin

    @property
    def is_at_end(self) -> bool:
        """Whether the current position is at the end."""
        return self._position >= self._end

    def views(self) -> Sequence[memoryview]:
        """Return bytes in memory from the current position on, at most a few mebibytes.

        The result is empty at the end and where bytes have to be fetched first.
        """
        begin = self._position
        if self._held_begin <= begin < self._held_end:
            return _cut(self._held, begin - self._held_begin, self._end - self._held_begin)
        end = min(self._end, begin + SEND_BYTES)
        if begin == end:
            return ()
        views = self._cached(begin, end)
        # Computing the end of a piece is slow: check first whether the cache has any of it.
        if (
            not views
            and self._cached(begin, begin + 1)
            and needs_several_requests(self._document.slice)
        ):
            views = self._cached(begin, self._piece(PIECE_BYTES).end)
        return views

    def _cached(self, begin: int, end: int) -> Sequence[memoryview]:
        return self._document.cached(self._client, begin, min(end, self._end)) or ()

    def cached_whole(self) -> Sequence[memoryview]:
        """Return all bytes if the cache has them and they are few enough for one send."""
        return self._cached(self._begin, self._end) if self.size <= SEND_BYTES else ()

    def advance(self, count: int) -> None:
        """Skip bytes that were sent, and drop the held piece at its end."""
        self._position += count
        if self._position >= min(self._held_end, self._end):
            self.release_held()

    def next_fetch(self, piece_bytes: int = PIECE_BYTES) -> FetchRequest:
        """Return the fetch that is needed before `views` can return bytes.

        Args:
            piece_bytes: Approximate size of the piece.
        """
        self._wanted = self._piece(piece_bytes)
        slice_, client = self._wanted.slice, self._client
        format, start, stop = slice_.format, slice_.start, slice_.stop

        def run(cancellation: Cancellation | None) -> bytes:
            return client.read(start, stop, format.name, cancellation=cancellation)

        cost_seconds = slice_seconds(format, start, slice_.size)
        key = (format.name, start, stop)
        return FetchRequest(key, cost_seconds, slice_.size, run, SliceRead(client, slice_))

    def _piece(self, piece_bytes: int) -> _Piece:
        """Return the piece that contains the current position."""
        opening, whole, _ = self._document
        if whole.stop - whole.start == 1 or self._document.size <= piece_bytes:
            return _Piece(whole, 0, self._document.size)
        format = whole.format
        offset = min(max(0, self._position - len(opening)), whole.size - 1)
        start = format.stop_within(whole.start, offset)
        stop = min(whole.stop, max(start + 1, format.stop_within(start, piece_bytes)))
        begin = len(opening) + whole.offset(start) if start > whole.start else 0
        end = len(opening) + whole.offset(stop) if stop < whole.stop else self._document.size
        return _Piece(whole.between(start, stop), begin, end)

    def hold(self, data: bytes) -> None:
        """Hold fetched bytes, unless the cache of the client has them by now.

        Args:
            data: Result of the last fetch that `next_fetch` returned.
        """
        piece = self._wanted
        assert piece is not None, "next_fetch() has not been called"
        self.release_held()
        if self._cached(self._position, piece.end):
            return
        opening, whole, closing = self._document
        before = opening if piece.begin == 0 else b""
        after = closing if piece.slice.stop == whole.stop else whole.format.separator
        self._held = [memoryview(part) for part in (before, data, after) if part]
        self._held_begin, self._held_end = piece.begin, piece.end

    def release_held(self) -> None:
        """Release the held piece; what was not sent must be fetched again."""
        self._held = []
        self._held_begin = self._held_end = 0

    def close(self) -> None:
        """Release the held piece."""
        self.release_held()

    def read(self, size: int = -1) -> bytes:
        """Return bytes, fetched if necessary: at least one before the end, `size` at most."""
        if self.is_at_end:
            return b""
        views = self.views()
        if not views:
            self.hold(self.next_fetch().run(None))
            views = self.views()
        data = bytes(views[0] if size < 0 else views[0][:size])
        self.advance(len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as `io.IOBase.seek` does."""
        position = self._position - self._begin
        base = {io.SEEK_SET: 0, io.SEEK_CUR: position, io.SEEK_END: self.size}[whence]
        self._position = self._begin + base + offset
        return base + offset

    def tell(self) -> int:
        """Return the current position."""
        return self._position - self._begin

    def seekable(self) -> bool:
        """Whether `seek` works."""
        return True


def needs_several_requests(slice_: EncodedSlice) -> bool:
    """Whether a slice is fetched in several requests."""
    return slice_.size > PIECE_BYTES and slice_.stop - slice_.start > 1


def _cut(views: Sequence[memoryview], begin: int, end: int) -> list[memoryview]:
    """Return bytes begin to end-1 of the concatenated views."""
    found, offset = [], 0
    for view in views:
        first, last = max(0, begin - offset), min(len(view), end - offset)
        if first < last:
            found.append(view[first:last])
        offset += len(view)
    return found
