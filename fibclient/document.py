"""Slice with bytes before and after it, such as a JSON document, of known size.

Any byte range can be produced separately, so an interrupted download resumes at the next byte.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fibclient.client import FibClient
from fibclient.connections.encoded_slice import EncodedSlice

__all__ = ["Document"]


class Document(NamedTuple):
    """A slice between an opening and a closing.

    Attributes:
        opening: Bytes before the slice.
        slice: The slice.
        closing: Bytes after the slice.
    """

    opening: bytes
    slice: EncodedSlice
    closing: bytes

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return len(self.opening) + self.slice.size + len(self.closing)

    def is_cached(self, client: FibClient) -> bool:
        """Whether the client's cache holds the whole slice."""
        size = self.slice.size  # the cache holds prefixes: the last byte implies the others
        return not size or client.cached(self.slice, size - 1, size) is not None

    def cached_whole(self, client: FibClient) -> bytes | None:
        """Return all bytes from the client's cache, or None if any are missing."""
        views = client.cached(self.slice, 0, self.slice.size)
        return None if views is None else b"".join((self.opening, *views, self.closing))

    def cached(self, client: FibClient, begin: int, end: int) -> list[memoryview] | None:
        """Return bytes begin to end-1 from the client's cache, or None if any are missing."""
        start, size = len(self.opening), self.slice.size
        stop = start + size
        first, last = _clamp(begin - start, size), _clamp(end - start, size)
        views = client.cached(self.slice, first, last)
        if views is None:
            return None
        opening = self.opening[begin:end]
        closing = self.closing[max(0, begin - stop) : max(0, end - stop)]
        return [*_views(opening), *views, *_views(closing)]

    def stream(
        self, client: FibClient, begin: int = 0, end: int | None = None
    ) -> Iterator[bytes | memoryview]:
        """Yield bytes begin to end-1, chunk by chunk, in bounded memory.

        Nothing is yielded before the server has accepted the request.

        Args:
            client: Client that fetches the slice.
            begin: First byte, 0 <= begin <= end.
            end: Byte to stop before, <= size; the end of the document by default.
        """
        end = self.size if end is None else end
        slice_, start = self.slice, len(self.opening)
        stop = start + slice_.size
        chunks = client.stream(
            slice_.start,
            slice_.stop,
            slice_.format.name,
            begin=_clamp(begin - start, slice_.size),
            end=_clamp(end - start, slice_.size),
        )
        first = next(chunks, None)  # raises if the server rejects the request
        if opening := self.opening[begin:end]:
            yield opening
        if first is not None:
            yield first
        yield from chunks
        if closing := self.closing[max(0, begin - stop) : max(0, end - stop)]:
            yield closing


def _clamp(position: int, size: int) -> int:
    return min(max(0, position), size)


def _views(data: bytes) -> list[memoryview]:
    return [memoryview(data)] if data else []
