"""Cache of the first elements of each format."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.errors import ClientClosed, DeadlineExceeded, RequestRefused, ServerUnreachable
from fibclient.prefix_cache import GAP_BYTES, MAX_SEGMENT_BYTES, SEGMENT_BYTES, PrefixCache
from tests.support.expected import encoded, expected
from tests.support.waiting import wait_until


class FetchRecorder:
    """A fetch function that records the ranges it was called with."""

    def __init__(self) -> None:
        self.fetched: list[tuple[int, int]] = []

    def __call__(self, slice_: EncodedSlice) -> bytes:
        self.fetched.append((slice_.start, slice_.stop))
        return expected(slice_.format.name, slice_.start, slice_.stop)


def later() -> float:
    """Return a generous deadline."""
    return time.monotonic() + 30.0


def read(
    cache: PrefixCache, source: FetchRecorder, start: int, stop: int, format: str
) -> bytes | None:
    """Read through a cache."""
    return cache.read(EncodedSlice.of(start, stop, format), later(), source)


bounds = st.tuples(st.integers(0, 200), st.integers(1, 200)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(st.tuples(bounds, st.sampled_from(["json", "text", "binary"])), max_size=8))
def test_any_sequence_of_reads_is_correct(
    reads: list[tuple[tuple[int, int], str]],
) -> None:
    """Any sequence of reads returns the right bytes and fetches no element twice."""
    cache, source = PrefixCache(10**6), FetchRecorder()
    for (start, stop), format in reads:
        assert read(cache, source, start, stop, format) == expected(format, start, stop)
        slice_ = EncodedSlice.of(start, stop, format)
        peeked = b"".join(cache.peek(slice_, 0, slice_.size))
        assert peeked == expected(format, start, stop)
    assert len(set(source.fetched)) <= len(reads)
    statistics = cache.statistics()
    assert statistics.hits + statistics.extensions == len(reads)
    assert statistics.misses == 0


def test_only_the_missing_tail_is_fetched() -> None:
    """A longer slice fetches only what the shorter one lacks; a shorter one fetches nothing."""
    cache, source = PrefixCache(10**6), FetchRecorder()
    for stop in (100, 40, 100, 250):
        read(cache, source, 0, stop, "json")
    assert source.fetched == [(0, 100), (100, 250)]
    statistics = cache.statistics()
    assert (statistics.hits, statistics.extensions, statistics.misses) == (2, 2, 0)
    assert statistics.elements == {"json": 250}
    assert statistics.size_bytes == len(b"".join(encoded("json", 0, 250)))


@pytest.mark.parametrize("start", [0, 60, 100])
def test_a_rejection_of_the_slice_is_final(start: int) -> None:
    """A slice whose missing elements are rejected is not fetched again as a whole."""
    cache, source = PrefixCache(10**6), FetchRecorder()
    read(cache, source, 0, 100, "json")

    def reject(slice_: EncodedSlice) -> bytes:
        raise RequestRefused("BUSY try again later")

    with pytest.raises(RequestRefused):
        cache.read(EncodedSlice.of(start, 200, "json"), later(), reject)
    assert cache.read(EncodedSlice.of(110, 200, "json"), later(), reject) is None


def test_far_ranges_are_not_kept() -> None:
    """A slice that begins far after the prefix bypasses the cache."""
    cache, source = PrefixCache(10**9), FetchRecorder()
    assert read(cache, source, 5000, 5001, "text") is None
    assert EncodedSlice.of(0, 5000, "text").size > GAP_BYTES
    assert cache.statistics().misses == 1
    assert source.fetched == []


def test_cache_is_bounded() -> None:
    """A slice above the limit is not cached; the least recently used prefix is evicted."""
    size = len(expected("text", 0, 500))
    cache, source = PrefixCache(size + 100), FetchRecorder()
    assert read(cache, source, 0, 600, "text") is None
    read(cache, source, 0, 480, "text")
    read(cache, source, 0, 480, "csv")
    assert cache.statistics().elements == {"csv": 480}
    assert cache.statistics().size_bytes <= size + 100


def test_limit_of_0_disables_cache() -> None:
    """A limit of 0 disables the cache."""
    cache, source = PrefixCache(0), FetchRecorder()
    assert read(cache, source, 0, 1, "text") is None
    assert cache.statistics().size_bytes == 0


def test_whole_fetched_slice_is_not_copied() -> None:
    """A slice that is exactly what was fetched is returned without a copy."""
    cache, source = PrefixCache(10**6), FetchRecorder()
    first = read(cache, source, 0, 2000, "json")
    assert first is not None
    assert len(first) > SEGMENT_BYTES
    assert read(cache, source, 0, 2000, "json") is first
    assert read(cache, source, 0, 2001, "json") == expected("json", 0, 2001)


def test_a_view_keeps_little_in_memory() -> None:
    """A large slice is split, so a view of one byte does not keep all of it in memory."""
    cache, source = PrefixCache(10**8), FetchRecorder()
    slice_ = EncodedSlice.of(0, 6000, "json")
    assert slice_.size > 3 * MAX_SEGMENT_BYTES
    assert read(cache, source, 0, 6000, "json") == expected("json", 0, 6000)
    views = cache.peek(slice_, 0, slice_.size)
    assert max(len(view.obj) for view in views) <= MAX_SEGMENT_BYTES  # type: ignore[arg-type]
    assert b"".join(views) == expected("json", 0, 6000)
    assert read(cache, source, 10, 5990, "json") == expected("json", 10, 5990)
    assert read(cache, source, 0, 6200, "json") == expected("json", 0, 6200)
    assert source.fetched == [(0, 6000), (6000, 6200)]


def test_small_steps_leave_few_segments() -> None:
    """Growing by single elements joins small segments, and the bytes stay right."""
    cache, source = PrefixCache(10**7), FetchRecorder()
    for stop in range(1, 400):
        read(cache, source, 0, stop, "text")
    slice_ = EncodedSlice.of(0, 399, "text")
    assert slice_.size < SEGMENT_BYTES
    assert len(cache.peek(slice_, 0, slice_.size)) == 1
    assert read(cache, source, 0, 399, "text") == expected("text", 0, 399)


def test_view_stays_valid_when_cache_changes() -> None:
    """Views stay valid when the prefix grows or is dropped."""
    cache, source = PrefixCache(10**6), FetchRecorder()
    read(cache, source, 0, 50, "text")
    views = cache.peek(EncodedSlice.of(0, 50, "text"), 0, 100)
    read(cache, source, 0, 80, "text")
    cache.close()
    assert b"".join(views) == expected("text", 0, 50)[:100]


def test_concurrent_readers_share_a_fetch() -> None:
    """Threads that need the same missing elements wait for the one that fetches them."""
    cache = PrefixCache(10**6)
    fetching, may_go_on = threading.Event(), threading.Event()
    source = FetchRecorder()

    def fetch(slice_: EncodedSlice) -> bytes:
        fetching.set()
        assert may_go_on.wait(30)
        return source(slice_)

    def request_slice(stop: int) -> bytes | None:
        return cache.read(EncodedSlice.of(0, stop, "json"), later(), fetch)

    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(request_slice, 300)
        assert fetching.wait(30)
        others = [threads.submit(request_slice, stop) for stop in range(281, 300)]
        may_go_on.set()
        assert first.result() == expected("json", 0, 300)
        for stop, other in zip(range(281, 300), others, strict=True):
            assert other.result() == expected("json", 0, stop)
    assert source.fetched == [(0, 300)]


def test_waiting_reader_fetches_after_failed_fetch() -> None:
    """A failed fetch raises in its own thread only; a waiting thread fetches next."""
    cache = PrefixCache(10**6)
    fetching, may_fail = threading.Event(), threading.Event()
    source = FetchRecorder()

    def fail(slice_: EncodedSlice) -> bytes:
        fetching.set()
        assert may_fail.wait(30)
        raise ServerUnreachable("gone")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.read, EncodedSlice.of(0, 9, "json"), later(), fail)
        assert fetching.wait(30)
        second = threads.submit(cache.read, EncodedSlice.of(0, 9, "json"), later(), source)
        may_fail.set()
        with pytest.raises(ServerUnreachable):
            first.result()
        assert second.result() == expected("json", 0, 9)


def test_waiting_has_an_end() -> None:
    """Waiting for another's fetch ends at the deadline, or when the cache is closed."""
    cache = PrefixCache(10**6)
    fetching, may_go_on = threading.Event(), threading.Event()

    def fetch(slice_: EncodedSlice) -> bytes:
        fetching.set()
        assert may_go_on.wait(30)
        return FetchRecorder()(slice_)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.read, EncodedSlice.of(0, 9, "json"), later(), fetch)
        assert fetching.wait(30)
        with pytest.raises(DeadlineExceeded):
            cache.read(EncodedSlice.of(0, 9, "json"), time.monotonic(), fetch)
        waiting = threads.submit(cache.read, EncodedSlice.of(0, 9, "json"), later(), fetch)
        wait_until(waiting.running, "another waits")
        cache.close()
        with pytest.raises(ClientClosed):
            waiting.result()
        may_go_on.set()
        assert first.result() == expected("json", 0, 9)
