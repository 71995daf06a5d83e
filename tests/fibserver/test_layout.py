"""The layout of the arena."""

from itertools import pairwise

import pytest

from fibclient.formats import FORMATS
from fibserver.layout import HEADER, INDEX_ENTRY_BYTES, PAGE_BYTES, ArenaLayout, ArrayLayout

MIB = 1024 * 1024

every_limit = pytest.mark.parametrize(
    "memory_limit", [MIB, MIB + 1, 10_000_019, 512 * MIB, 64 * 1024 * MIB]
)


def regions(array: ArrayLayout) -> list[tuple[int, int]]:
    """Where the parts of an array begin, and how many bytes they need."""
    return [
        (array.header_position, HEADER.size),
        (array.index_position, (array.capacity_elements + 1) * INDEX_ENTRY_BYTES),
        (array.data_position, array.capacity_bytes),
    ]


@every_limit
def test_parts_are_disjoint(memory_limit: int) -> None:
    """No two parts of the arena overlap, and all lie within it."""
    layout = ArenaLayout(memory_limit)
    parts = sorted(region for array in layout.arrays.values() for region in regions(array))
    assert len(parts) == 3 * len(FORMATS)
    assert all(start + size <= after for (start, size), (after, _) in pairwise(parts))
    assert parts[0][0] >= 0
    assert sum(parts[-1]) <= layout.size_bytes


@every_limit
def test_parts_are_page_aligned(memory_limit: int) -> None:
    """Every part starts on a page of its own, so that reserving one touches no other."""
    layout = ArenaLayout(memory_limit)
    starts = [start for array in layout.arrays.values() for start, _ in regions(array)]
    assert all(start % PAGE_BYTES == 0 for start in starts)
    assert layout.size_bytes % PAGE_BYTES == 0


@every_limit
def test_capacity(memory_limit: int) -> None:
    """An array has room for as many elements as fit the memory limit, and an entry for each."""
    layout = ArenaLayout(memory_limit)
    assert [format.name for format in layout.arrays] == list(FORMATS)
    for format, array in layout.arrays.items():
        assert array.format is format
        assert array.capacity_bytes == memory_limit
        capacity = array.capacity_elements
        assert format.offset(capacity) <= memory_limit < format.offset(capacity + 1)


def test_header_holds_every_name() -> None:
    """The header has room for every format's name and any count."""
    for name in FORMATS:
        stored, count = HEADER.unpack(HEADER.pack(name.encode(), 2**64 - 1))
        assert (stored.rstrip(b"\0"), count) == (name.encode(), 2**64 - 1)
