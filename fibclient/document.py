"""An answer with what stands around it, as a run of bytes of known size: JSON, for example.

Any part of it can be had by itself, so a document that broke off goes on from its very next byte.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fibclient.client import FibClient
from fibclient.connections.encoded_slice import EncodedSlice

__all__ = ["Document"]


class Document(NamedTuple):
    """An answer in its frame.

    Attributes:
        opening: what stands before it.
        answer: the numbers in some format.
        closing: what stands behind it.
    """

    opening: bytes
    answer: EncodedSlice
    closing: bytes

    @property
    def size(self) -> int:
        """How many bytes it has in all."""
        return len(self.opening) + self.answer.size + len(self.closing)

    def is_cached(self, client: FibClient) -> bool:
        """Whether a client's cache has all of it: what that keeps is a prefix."""
        size = self.answer.size
        return not size or client.cached(self.answer, size - 1, size) is not None

    def cached_whole(self, client: FibClient) -> bytes | None:
        """Return all bytes from a client's cache alone; None if it lacks any."""
        views = client.cached(self.answer, 0, self.answer.size)
        return None if views is None else b"".join((self.opening, *views, self.closing))

    def cached(self, client: FibClient, begin: int, end: int) -> list[memoryview] | None:
        """Return bytes begin to end-1 from a client's cache alone; None if it lacks any."""
        before, size = len(self.opening), self.answer.size
        behind = before + size
        first, last = _within(begin - before, size), _within(end - before, size)
        views = client.cached(self.answer, first, last)
        if views is None:
            return None
        opening = self.opening[begin:end]
        closing = self.closing[max(0, begin - behind) : max(0, end - behind)]
        return [*_views(opening), *views, *_views(closing)]

    def stream(
        self, client: FibClient, begin: int = 0, end: int | None = None
    ) -> Iterator[bytes | memoryview]:
        """Yield bytes begin to end-1, piece by piece, in bounded memory.

        Nothing is yielded before the server has agreed to answer.

        Args:
            client: whom to ask.
            begin: 0 <= begin <= end.
            end: <= size; all by default.
        """
        end = self.size if end is None else end
        answer, before = self.answer, len(self.opening)
        behind = before + answer.size
        pieces = client.stream(
            answer.start,
            answer.stop,
            answer.format.name,
            begin=_within(begin - before, answer.size),
            end=_within(end - before, answer.size),
        )
        first = next(pieces, None)  # a refusal is raised here
        if opening := self.opening[begin:end]:
            yield opening
        if first is not None:
            yield first
        yield from pieces
        if closing := self.closing[max(0, begin - behind) : max(0, end - behind)]:
            yield closing


def _within(position: int, size: int) -> int:
    return min(max(0, position), size)


def _views(data: bytes) -> list[memoryview]:
    return [memoryview(data)] if data else []
