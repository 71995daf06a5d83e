"""The bounds of a cache, and which entries it drops."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.bounded_cache import BoundedCache, RepeatFilter


def test_oldest_entry_gives_way() -> None:
    """At the maximum number of entries, the oldest is dropped, even if it was used lately."""
    cache: BoundedCache[int, str] = BoundedCache(2)
    cache.put(1, "a")
    cache.put(2, "b")
    assert cache.get(1) == "a"
    cache.put(3, "c")
    assert [cache.get(key) for key in (1, 2, 3)] == [None, "b", "c"]


def test_large_entry_is_kept_alone() -> None:
    """An entry beyond the maximum size drops all others, and is dropped for the next one."""
    cache: BoundedCache[int, str] = BoundedCache(9, 10)
    cache.put(1, "a", 5)
    cache.put(2, "b", 50)
    assert [cache.get(key) for key in (1, 2)] == [None, "b"]
    cache.put(3, "c", 5)
    assert [cache.get(key) for key in (2, 3)] == [None, "c"]


def test_value_is_replaced() -> None:
    """A present entry gets the new value, and keeps its age and its size."""
    cache: BoundedCache[int, str] = BoundedCache(2, 10)
    cache.put(1, "a", 5)
    cache.put(2, "b", 5)
    cache.put(1, "A", 5)
    assert [cache.get(key) for key in (1, 2)] == ["A", "b"]
    cache.put(3, "c", 5)
    assert 1 not in cache


def test_bound_get_outlives_clear() -> None:
    """A bound `get` finds entries that are added after the cache was cleared."""
    cache: BoundedCache[int, str] = BoundedCache(2)
    get = cache.get
    cache.put(1, "a")
    cache.clear()
    assert get(1) is None
    cache.put(1, "b")
    assert get(1) == "b"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12))))
def test_bounds_hold(entries: list[tuple[int, int]]) -> None:
    """Neither bound is exceeded, and the entries that remain are the latest ones."""
    cache: BoundedCache[int, int] = BoundedCache(5, 20)
    added: list[tuple[int, int]] = []
    for key, size in entries:
        if key not in cache:
            added.append((key, size))
        cache.put(key, key, size)
        present = added[len(added) - len(cache) :]
        assert all(cache.get(key) == key for key, _ in present)
        assert len(cache) <= 5
        assert sum(size for _, size in present) <= 20


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 10))
def test_repeat_filter_recognizes_recent_keys(keys: list[int], slots: int) -> None:
    """A key is recognized until another one takes its slot, and never before it has come."""
    filter, last = RepeatFilter(slots), dict[int, int]()
    for key in keys:
        assert filter.is_repeated(key) is (last.get(key % slots) == key)
        last[key % slots] = key
