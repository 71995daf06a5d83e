"""The first elements of each format, kept in memory; none ever expires.

A prefix grows at its end: what is asked for and missing is fetched by one caller while others that
want it too wait for that one, so a crowd moves the bytes only once. All formats share a bound;
the prefix used longest ago makes room for the others.

A prefix is a list of segments that are never changed once they are in it, so what was read
stays right whatever happens to the cache. A view keeps the whole of its segment in memory, and a
slow reader may hold a view for long after the cache has let go, so segments are small.
"""

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.connections.encoded_slice import EncodedSlice, offset
from fibclient.errors import ClientClosed, DeadlineExceeded, RequestRefused
from fibcommon.formats import Format

__all__ = ["CacheStatistics", "PrefixCache"]

SEGMENT_BYTES = 256 * 1024
"""Segments smaller than this are joined: growing a little at a time must not leave thousands."""

MAX_SEGMENT_BYTES = 1024 * 1024
"""What a view of a byte may keep in memory."""

GAP_BYTES = 64 * 1024
"""A prefix grows over elements that nobody asked for if they are no more than this, or no more
than what was asked for."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What the cache has done.

    Attributes:
        hits: answers that came from the cache alone.
        extensions: answers for which a prefix grew.
        misses: answers that the cache had no part in.
        size_bytes: kept now.
        elements: kept now, by format.
    """

    hits: int
    extensions: int
    misses: int
    size_bytes: int
    elements: dict[str, int]


@dataclass(slots=True, eq=False)
class _Prefix:
    """The first `stop` elements of a format, separators included."""

    stop: int = 0
    size: int = 0
    is_growing: bool = False
    segments: list[bytes] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)

    def append(self, data: bytes, stop: int) -> None:
        if self.segments and len(self.segments[-1]) + len(data) <= SEGMENT_BYTES:
            self.segments[-1] += data
        else:
            self.begins.append(self.size)
            self.segments.append(data)
        self.size += len(data)
        self.stop = stop

    def views(self, begin: int, end: int) -> list[memoryview]:
        first = bisect_right(self.begins, begin) - 1
        found = []
        for number in range(first, len(self.segments)):
            offset = self.begins[number]
            if offset >= end:
                break
            segment = memoryview(self.segments[number])
            found.append(segment[max(0, begin - offset) : end - offset])
        return found


class PrefixCache:
    """Prefixes of at most so many bytes together; for any thread."""

    def __init__(self, max_bytes: int) -> None:
        """Start empty.

        Args:
            max_bytes: >= 0; with 0 nothing is kept.
        """
        self._max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Start empty again; in a forked child."""
        self._lock = threading.RLock()  # `fibclient.transport.pool` says why
        self._state_changed = threading.Condition(self._lock)  # a prefix has grown, or will not
        self._prefixes: OrderedDict[Format, _Prefix] = OrderedDict()
        self._size = 0
        self._hits = self._extensions = self._misses = 0
        self._is_closed = False

    def peek(self, answer: EncodedSlice, begin: int, end: int) -> list[memoryview]:
        """Return what is kept of bytes begin to end-1 of an answer, from `begin` on."""
        if begin == end:
            return []
        with self._lock:
            prefix = self._prefixes.get(answer.format)
            if prefix is None or answer.start >= prefix.stop:
                return []  # found out without the offset, which takes some time
            base = offset(answer.format, answer.start)
            if base + begin >= prefix.size:
                return []
            self._prefixes.move_to_end(answer.format)
            return prefix.views(base + begin, min(prefix.size, base + end))

    def read(
        self,
        answer: EncodedSlice,
        deadline: float,
        fetch: Callable[[EncodedSlice], bytes],
        cancellation: Cancellation | None = None,
    ) -> bytes | None:
        """Return an answer from its prefix, which grows if it must.

        Args:
            answer: not empty.
            deadline: for waiting until another caller has fetched, monotonic.
            fetch: returns an answer; called by one caller at a time for each format. When it
                fails, the next caller that waits for the same fetches.
            cancellation: ends the wait until another caller has fetched.

        Returns:
            the answer, or None if it is not for the cache: too large, or too far out.

        Raises:
            whatever `fetch` raises, `DeadlineExceeded`, `ClientClosed` and `CallCancelled`.
        """
        if not self._max_bytes:
            return None
        begin = offset(answer.format, answer.start)
        end = begin + answer.size
        growing, data, segments = None, None, []
        try:
            with notified(cancellation, self._notify), self._lock:
                prefix = self._settled(answer, deadline, cancellation)
                if prefix is None:
                    self._misses += 1
                    return None
                self._prefixes.move_to_end(answer.format)
                known = prefix.views(begin, end) if begin < prefix.size else []
                if answer.stop <= prefix.stop:
                    self._hits += 1
                else:
                    prefix.is_growing = True
                    growing = prefix
            if growing is not None:
                missing = answer.between(growing.stop, answer.stop)
                data = self._fetched(missing, answer, fetch)
                if data is None:
                    return None
                skip = max(0, begin - offset(answer.format, missing.start))
                known.append(memoryview(data)[skip:])
                segments = _split(data)
        finally:
            if growing is not None:
                with self._lock:
                    growing.is_growing = False
                    if data is not None:
                        self._extensions += 1
                        self._keep(growing, segments, missing)
                    self._state_changed.notify_all()
        # Copying takes long for large answers: others may use the cache meanwhile.
        return _joined(known)

    def _fetched(
        self, missing: EncodedSlice, answer: EncodedSlice, fetch: Callable[[EncodedSlice], bytes]
    ) -> bytes | None:
        """Return what is missing; None if only that, and maybe not the answer, is refused."""
        try:
            return fetch(missing)
        except RequestRefused:
            if missing.start == answer.start:
                raise
            # The elements between the prefix and the answer may have been too many.
            with self._lock:
                self._misses += 1
            return None

    def _settled(
        self, answer: EncodedSlice, deadline: float, cancellation: Cancellation | None
    ) -> _Prefix | None:
        """Return the prefix once it has what is asked for or nobody else makes it grow.

        None if the answer is not for the cache.
        """
        while True:
            prefix = self._prefixes.get(answer.format)
            if prefix is None:
                prefix = self._prefixes[answer.format] = _Prefix()
            if answer.stop <= prefix.stop:
                return prefix
            if not self._is_worth_keeping(prefix, answer):
                return None
            if not prefix.is_growing:
                return prefix
            raise_if_cancelled(cancellation)
            if not self._state_changed.wait(deadline - time.monotonic()):
                raise DeadlineExceeded("another thread's request for the same took too long")
            if self._is_closed:
                raise ClientClosed("the client is closed")

    def _is_worth_keeping(self, prefix: _Prefix, answer: EncodedSlice) -> bool:
        if offset(answer.format, answer.stop) > self._max_bytes:
            return False
        gap = offset(answer.format, answer.start) - prefix.size
        return gap <= max(GAP_BYTES, answer.size)

    def _keep(self, prefix: _Prefix, segments: list[bytes], missing: EncodedSlice) -> None:
        """Put an answer at the end of a prefix, if there is room to be made for it."""
        separator = missing.format.separator
        size = missing.size + len(separator)
        excess = self._size + size - self._max_bytes
        for format, other in list(self._prefixes.items()):
            if excess <= 0:
                break
            if other is not prefix and not other.is_growing:
                del self._prefixes[format]
                self._size -= other.size
                excess -= other.size
        if excess <= 0:
            for segment in segments:
                prefix.append(segment, missing.stop)
            if separator:
                prefix.append(separator, missing.stop)
            self._size += size

    def statistics(self) -> CacheStatistics:
        """Return what has been done so far."""
        with self._lock:
            elements = {format.name: each.stop for format, each in self._prefixes.items()}
            return CacheStatistics(
                self._hits, self._extensions, self._misses, self._size, elements
            )

    def _notify(self) -> None:
        with self._lock:
            self._state_changed.notify_all()

    def close(self) -> None:
        """Let go of everything, and wake whoever waits."""
        with self._lock:
            self._is_closed = True
            self._prefixes.clear()
            self._size = 0
            self._state_changed.notify_all()


def _split(data: bytes) -> list[bytes]:
    """Return the segments to keep for an answer; a small one is kept as it is."""
    if len(data) <= MAX_SEGMENT_BYTES:
        return [data]
    begins = range(0, len(data), MAX_SEGMENT_BYTES)
    return [data[begin : begin + MAX_SEGMENT_BYTES] for begin in begins]


def _joined(views: list[memoryview]) -> bytes:
    """Return the bytes of some views, without a copy if they are those of one object."""
    whole = views[0].obj
    if len(views) == 1 and isinstance(whole, bytes) and len(whole) == len(views[0]):
        return whole
    return b"".join(views)
