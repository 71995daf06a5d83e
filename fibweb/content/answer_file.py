"""A document as a file whose bytes are in memory, or are fetched a piece at a time.

A piece is a run of whole elements, about a mebibyte of them, and at least one: so every element is
asked for once, however large it is. A file holds the one piece that was fetched for it, until it
is sent or dropped; bytes that are in the client library's cache are looked up each time and never
held. So a slow reader keeps at most one piece in memory.

The HTTP server's event loop must not block: it sends what `views` returns, and has what `missing`
returns fetched by a thread. To everybody else this is a file to be read, which blocks.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

from fibclient import Cancellation, FibClient
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from fibcommon.costs import slice_seconds
from fibweb.content.fetch import Fetch

__all__ = ["PIECE_BYTES", "SMALL_PIECE_BYTES", "AnswerFile", "has_many_pieces"]

PIECE_BYTES = 1024 * 1024
SMALL_PIECE_BYTES = 64 * 1024
"""Of a piece while memory is short."""

SEND_BYTES = 4 * 1024 * 1024
"""The most that `views` returns: more than a socket takes at a time."""


class _Piece(NamedTuple):
    """Some whole elements of a document, with what surrounds them.

    Attributes:
        answer: the elements.
        begin: the piece's first byte in the document.
        end: the byte after its last.
    """

    answer: EncodedSlice
    begin: int
    end: int


class AnswerFile:
    """Bytes begin to end-1 of a document.

    Attributes:
        size: how many there are.
    """

    def __init__(self, client: FibClient, document: Document, begin: int, end: int) -> None:
        """Open a file without reading anything yet.

        Args:
            client: asks the servers.
            document: what it is of.
            begin: 0 <= begin <= end.
            end: <= the document's size.
        """
        self.size = end - begin
        self._client = client
        self._document = document
        self._begin = begin
        self._end = end
        self._position = begin  # in the document, as are all positions here
        self._wanted: _Piece | None = None
        self._held: list[memoryview] = []
        self._held_begin = self._held_end = 0

    def reopened(self) -> "AnswerFile":
        """Return the same file at its beginning, holding nothing."""
        return AnswerFile(self._client, self._document, self._begin, self._end)

    @property
    def is_cached(self) -> bool:
        """Whether all of it is in the client's cache."""
        opening, answer, _ = self._document
        end = min(self._end, len(opening) + answer.size)
        # The cache holds a prefix: if the last byte is there, all are.
        return end <= self._begin or bool(self._cached(end - 1, end))

    @property
    def held_bytes(self) -> int:
        """How many bytes are held in memory for this file alone."""
        return self._held_end - self._held_begin

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left from the current position on."""
        return self._position >= self._end

    def views(self) -> Sequence[memoryview]:
        """Return bytes in memory from the current position on, at most some mebibytes.

        Nothing at the end, and where something has to be fetched first.
        """
        begin = self._position
        if self._held_begin <= begin < self._held_end:
            return _cut(self._held, begin - self._held_begin, self._end - self._held_begin)
        end = min(self._end, begin + SEND_BYTES)
        if begin == end:
            return ()
        views = self._cached(begin, end)
        # Where a piece ends takes a while to find out: first see whether the cache has any of it.
        if not views and self._cached(begin, begin + 1) and has_many_pieces(self._document.answer):
            views = self._cached(begin, self._piece(PIECE_BYTES).end)
        return views

    def _cached(self, begin: int, end: int) -> Sequence[memoryview]:
        return self._document.cached(self._client, begin, min(end, self._end)) or ()

    def cached_whole(self) -> Sequence[memoryview]:
        """Return all bytes of the file if the cache has them and they can be sent at once."""
        return self._cached(self._begin, self._end) if self.size <= SEND_BYTES else ()

    def advance(self, count: int) -> None:
        """Move over bytes that were sent, and drop a piece that was sent whole."""
        self._position += count
        if self._position >= min(self._held_end, self._end):
            self.drop_held()

    def missing(self, piece_bytes: int = PIECE_BYTES) -> Fetch:
        """Return what has to be fetched for `views` to return something.

        Args:
            piece_bytes: how large a piece should be.
        """
        self._wanted = self._piece(piece_bytes)
        answer, client = self._wanted.answer, self._client
        format, start, stop = answer.format, answer.start, answer.stop

        def run(cancellation: Cancellation | None) -> bytes:
            return client.read(start, stop, format.name, cancellation=cancellation)

        cost_seconds = slice_seconds(format, start, answer.size)
        return Fetch((format.name, start, stop), cost_seconds, answer.size, run)

    def _piece(self, piece_bytes: int) -> _Piece:
        """Return the piece that begins with the element at the current position."""
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

    def give(self, data: bytes) -> None:
        """Hold the bytes of what was missing, unless the client has come to keep them.

        Args:
            data: the result of the fetch that `missing` has returned last.
        """
        piece = self._wanted
        assert piece is not None, "missing() says what to fetch"
        self.drop_held()
        if self._cached(self._position, piece.end):
            return
        opening, whole, closing = self._document
        before = opening if piece.begin == 0 else b""
        behind = closing if piece.answer.stop == whole.stop else whole.format.separator
        self._held = [memoryview(each) for each in (before, data, behind) if each]
        self._held_begin, self._held_end = piece.begin, piece.end

    def drop_held(self) -> None:
        """Let go of the piece that is held; it has to be fetched again if it was not sent."""
        self._held = []
        self._held_begin = self._held_end = 0

    def close(self) -> None:
        """Let go of everything."""
        self.drop_held()

    # For everybody else.

    def read(self, size: int = -1) -> bytes:
        """Return some bytes, fetched if need be; fewer than `size` where a piece ends."""
        if self.is_at_end:
            return b""
        views = self.views()
        if not views:
            self.give(self.missing().run(None))
            views = self.views()
        data = bytes(views[0] if size < 0 else views[0][:size])
        self.advance(len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as with any file."""
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


def has_many_pieces(answer: EncodedSlice) -> bool:
    """Whether an answer is fetched in several requests, so that no server sees all of it."""
    return answer.size > PIECE_BYTES and answer.stop - answer.start > 1


def _cut(views: Sequence[memoryview], begin: int, end: int) -> list[memoryview]:
    """Return bytes begin to end-1 of some views, put one after another."""
    found, offset = [], 0
    for view in views:
        first, last = max(0, begin - offset), min(len(view), end - offset)
        if first < last:
            found.append(view[first:last])
        offset += len(view)
    return found
