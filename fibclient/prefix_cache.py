"""Cache of the first elements of each format; they never expire.

A prefix grows at its end: one caller fetches the missing elements while others that need them
wait, so concurrent callers transfer them only once. All formats share a memory limit; the least
recently used prefix is evicted first.

A prefix is a list of immutable segments, so views of it stay valid whatever happens to the cache.
A view keeps its whole segment in memory, and a slow reader may hold one long after the cache has
dropped the segment, so segments are small.
"""

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.connections.encoded_slice import EncodedSlice, offset
from fibclient.errors import ClientClosed, DeadlineExceeded, RequestRefused
from fibcommon.formats import Format

__all__ = ["CacheStatistics", "PrefixCache"]

SEGMENT_BYTES = 256 * 1024
"""Small segments are joined up to this size, so that many small steps do not leave thousands."""

MAX_SEGMENT_BYTES = 1024 * 1024
"""Maximum size of a segment, which a view of a single byte keeps in memory."""

GAP_BYTES = 64 * 1024
"""Largest unrequested gap that a prefix grows over; the size of the slice, if that is larger."""


class CacheStatistics(NamedTuple):
    """Counters of a prefix cache.

    Attributes:
        hits: Reads served from the cache alone.
        extensions: Reads that extended a prefix.
        misses: Reads that bypassed the cache.
        size_bytes: Bytes held now.
        elements: Number of elements held now, by format name.
    """

    hits: int
    extensions: int
    misses: int
    size_bytes: int
    elements: dict[str, int]


class _Prefix:
    """The first `stop` elements of a format, separators included."""

    __slots__ = ("begins", "is_growing", "segments", "size", "stop")

    def __init__(self) -> None:
        self.stop = self.size = 0
        self.is_growing = False
        self.segments: list[bytes] = []
        self.begins: list[int] = []

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
        if end <= self.begins[first] + len(self.segments[first]):  # most slices
            offset = self.begins[first]
            return [memoryview(self.segments[first])[begin - offset : end - offset]]
        found = []
        for index in range(first, len(self.segments)):
            offset = self.begins[index]
            if offset >= end:
                break
            segment = memoryview(self.segments[index])
            found.append(segment[max(0, begin - offset) : end - offset])
        return found


class PrefixCache:
    """Thread-safe cache of prefixes with a shared memory limit."""

    def __init__(self, max_bytes: int) -> None:
        """Create an empty cache.

        Args:
            max_bytes: Memory limit, >= 0; 0 disables the cache.
        """
        self._max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Empty the cache and replace its lock, for a forked child."""
        self._lock = threading.RLock()  # reentrant: see `fibclient.transport.pool`
        self._state_changed = threading.Condition(self._lock)  # a fetch has ended
        self._prefixes: OrderedDict[Format, _Prefix] = OrderedDict()
        self._size = 0
        self._hits = self._extensions = self._misses = 0
        self._is_closed = False

    def peek(self, slice_: EncodedSlice, begin: int, end: int) -> list[memoryview]:
        """Return the cached part of bytes begin to end-1 of a slice, from `begin` on."""
        if begin == end:
            return []
        with self._lock:
            prefix = self._prefixes.get(slice_.format)
            if prefix is None or slice_.start >= prefix.stop:
                return []  # checked first: offsets take time to compute
            base = offset(slice_.format, slice_.start) if slice_.start else 0
            if base + begin >= prefix.size:
                return []
            self._prefixes.move_to_end(slice_.format)
            return prefix.views(base + begin, min(prefix.size, base + end))

    def read(
        self,
        slice_: EncodedSlice,
        deadline: float,
        fetch: Callable[[EncodedSlice], bytes],
        cancellation: Cancellation | None = None,
    ) -> bytes | None:
        """Return a slice from the cache, after extending the prefix if necessary.

        Args:
            slice_: The slice, not empty.
            deadline: Monotonic time until which to wait for another caller's fetch.
            fetch: Returns a slice; called by one caller at a time for each format. If it fails,
                the next waiting caller fetches.
            cancellation: Ends the wait for another caller's fetch.

        Returns:
            The bytes, or None if the slice must be fetched without the cache: it is too large or
            too far from the prefix, or the server rejects the elements before it.

        Raises:
            DeadlineExceeded: Another caller's fetch took too long.
            ClientClosed: The cache was closed meanwhile.
            CallCancelled: The call was cancelled.
            Exception: Whatever `fetch` raises.
        """
        if not self._max_bytes:
            return None
        begin = offset(slice_.format, slice_.start)
        end = begin + slice_.size
        growing, data, segments = None, None, []
        try:
            with notified(cancellation, self._notify), self._lock:
                prefix = self._wait_for_prefix(slice_, deadline, cancellation)
                if prefix is None:
                    self._misses += 1
                    return None
                self._prefixes.move_to_end(slice_.format)
                known = prefix.views(begin, end) if begin < prefix.size else []
                if slice_.stop <= prefix.stop:
                    self._hits += 1
                else:
                    prefix.is_growing = True
                    growing = prefix
            if growing is not None:
                missing = slice_.between(growing.stop, slice_.stop)
                data = self._fetch_missing(missing, slice_, fetch)
                if data is None:
                    return None
                skip = max(0, begin - offset(slice_.format, missing.start))
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
        # Outside the lock: copying a large slice takes long.
        return _join(known)

    def bypasses(self, slice_: EncodedSlice) -> bool:
        """Whether `read` would return None without any fetch; counts as a miss if so."""
        if not self._max_bytes:
            return True
        with self._lock:
            prefix = self._prefixes.get(slice_.format) or _Prefix()
            if slice_.stop <= prefix.stop or self._is_worth_keeping(prefix, slice_):
                return False
            self._misses += 1
            return True

    def _fetch_missing(
        self, missing: EncodedSlice, slice_: EncodedSlice, fetch: Callable[[EncodedSlice], bytes]
    ) -> bytes | None:
        """Fetch the missing elements; return None if the slice alone may still be accepted."""
        try:
            return fetch(missing)
        except RequestRefused:
            if missing.start >= slice_.start:
                raise
            # The gap between the prefix and the slice may have made the request too large.
            with self._lock:
                self._misses += 1
            return None

    def _wait_for_prefix(
        self, slice_: EncodedSlice, deadline: float, cancellation: Cancellation | None
    ) -> _Prefix | None:
        """Return the prefix once it holds the slice or no other caller is extending it.

        Return None if the slice must be fetched without the cache.
        """
        while True:
            prefix = self._prefixes.get(slice_.format)
            if prefix is None:
                prefix = self._prefixes[slice_.format] = _Prefix()
            if slice_.stop <= prefix.stop:
                return prefix
            if not self._is_worth_keeping(prefix, slice_):
                return None
            if not prefix.is_growing:
                return prefix
            raise_if_cancelled(cancellation)
            if not self._state_changed.wait(deadline - time.monotonic()):
                raise DeadlineExceeded("timed out waiting for another thread's request")
            if self._is_closed:
                raise ClientClosed("the client is closed")

    def _is_worth_keeping(self, prefix: _Prefix, slice_: EncodedSlice) -> bool:
        if offset(slice_.format, slice_.stop) > self._max_bytes:
            return False
        gap = offset(slice_.format, slice_.start) - prefix.size
        return gap <= max(GAP_BYTES, slice_.size)

    def _keep(self, prefix: _Prefix, segments: list[bytes], missing: EncodedSlice) -> None:
        """Append fetched elements to a prefix, after evicting others, if they fit."""
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
        """Return a snapshot of the counters."""
        with self._lock:
            elements = {format.name: prefix.stop for format, prefix in self._prefixes.items()}
            return CacheStatistics(
                self._hits, self._extensions, self._misses, self._size, elements
            )

    def _notify(self) -> None:
        with self._lock:
            self._state_changed.notify_all()

    def close(self) -> None:
        """Drop all prefixes and wake all waiting callers."""
        with self._lock:
            self._is_closed = True
            self._prefixes.clear()
            self._size = 0
            self._state_changed.notify_all()


def _split(data: bytes) -> list[bytes]:
    """Split data into segments; data that fits into one is not copied."""
    if len(data) <= MAX_SEGMENT_BYTES:
        return [data]
    begins = range(0, len(data), MAX_SEGMENT_BYTES)
    return [data[begin : begin + MAX_SEGMENT_BYTES] for begin in begins]


def _join(views: list[memoryview]) -> bytes:
    """Join views, without a copy if the only one covers a whole bytes object."""
    whole = views[0].obj
    if len(views) == 1 and isinstance(whole, bytes) and len(whole) == len(views[0]):
        return whole
    return b"".join(views)
