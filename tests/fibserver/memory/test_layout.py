"""Layout of the arena."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format
from fibserver.memory.blocks import BLOCK_BYTES, stop_of_block
from fibserver.memory.layout import (
    HEADER,
    INDEX_ENTRY_BYTES,
    KEPT_SPACE_FACTOR,
    MAX_KEPT_BLOCKS,
    PAGE_BYTES,
    ArenaLayout,
    ArrayLayout,
    pages,
)

MIB = 1024 * 1024
MAX_INDEX = 10_000_000
SLOTS = 8

FULL_INDEX_PAGES = FORMATS["json"].offset(4 * PAGE_BYTES // INDEX_ENTRY_BYTES)
"""A memory limit at which the index entries of all elements but one fill whole pages."""

every_limit = pytest.mark.parametrize(
    "memory_limit",
    [MIB, MIB + 1, FULL_INDEX_PAGES, 10_000_019, 512 * MIB, 64 * 1024 * MIB],
)
every_max_index = pytest.mark.parametrize("max_index", [0, MAX_INDEX, 60_000_000])


def far_bytes(layout: ArenaLayout) -> int:
    """Return the size of the room for a far block."""
    return layout.far_positions.step


def regions(array: ArrayLayout) -> list[tuple[int, int]]:
    """Return the position and size of each part of an array."""
    return [
        (array.header_position, HEADER.size),
        (array.index_position, (array.capacity_elements + 1) * INDEX_ENTRY_BYTES),
        (array.data_position, array.capacity_bytes),
    ]


@every_limit
@every_max_index
def test_parts_are_disjoint(memory_limit: int, max_index: int) -> None:
    """The arrays' parts and the far blocks do not overlap and lie within the arena."""
    layout = ArenaLayout(memory_limit, max_index, SLOTS)
    parts = [region for array in layout.arrays.values() for region in regions(array)]
    parts += [(position, far_bytes(layout)) for position in layout.far_positions]
    parts.sort()
    assert len(parts) > 3 * len(FORMATS) + SLOTS
    assert all(start + size <= after for (start, size), (after, _) in pairwise(parts))
    assert parts[0][0] >= 0
    assert sum(parts[-1]) <= layout.size_bytes


@every_limit
@every_max_index
def test_parts_are_page_aligned(memory_limit: int, max_index: int) -> None:
    """Every part starts at a page boundary, so freeing one affects no other."""
    layout = ArenaLayout(memory_limit, max_index, SLOTS)
    starts = [start for array in layout.arrays.values() for start, _ in regions(array)]
    starts += layout.far_positions
    assert all(start % PAGE_BYTES == 0 for start in starts)
    assert layout.size_bytes % PAGE_BYTES == far_bytes(layout) % PAGE_BYTES == 0


@every_limit
def test_capacity(memory_limit: int) -> None:
    """An array has room for the elements that fit the memory limit, and for their index."""
    layout = ArenaLayout(memory_limit, MAX_INDEX, SLOTS)
    assert [format.name for format in layout.arrays] == list(FORMATS)
    for format, array in layout.arrays.items():
        assert array.format is format
        assert array.capacity_bytes == memory_limit
        capacity = array.capacity_elements
        assert format.offset(capacity) <= memory_limit < format.offset(capacity + 1)


@pytest.mark.parametrize("slots", [0, 1, 50])
@pytest.mark.parametrize(
    ("memory_limit", "kept"),
    [
        (1, 1),
        (BLOCK_BYTES // KEPT_SPACE_FACTOR, 1),
        (2 * BLOCK_BYTES // KEPT_SPACE_FACTOR - 1, 1),
        (2 * BLOCK_BYTES // KEPT_SPACE_FACTOR, 2),
        (10 * BLOCK_BYTES, 10 * KEPT_SPACE_FACTOR),
        (MAX_KEPT_BLOCKS * BLOCK_BYTES // KEPT_SPACE_FACTOR, MAX_KEPT_BLOCKS),
        (64 * 1024 * MIB, MAX_KEPT_BLOCKS),
    ],
)
def test_number_of_far_blocks(slots: int, memory_limit: int, kept: int) -> None:
    """There are positions for claimed blocks, and for as many kept ones as memory allows."""
    layout = ArenaLayout(memory_limit, 1000, slots)
    assert len(layout.far_positions) == slots + kept


@every_max_index
def test_far_blocks_are_at_the_end(max_index: int) -> None:
    """The arena ends with the last far block."""
    layout = ArenaLayout(MIB, max_index, SLOTS)
    assert layout.size_bytes == layout.far_positions[-1] + far_bytes(layout)


@settings(deadline=None)
@given(
    st.sampled_from(list(FORMATS.values())),
    st.integers(0, 60_000_000),
    st.floats(0, 1),
)
def test_every_far_block_fits(format: Format, max_index: int, where: float) -> None:
    """Any far block that the settings allow fits its position."""
    room = far_bytes(ArenaLayout(MIB, max_index, 1))
    for start in (int(max_index * where), max_index):
        stop = stop_of_block(format, start, max_index + 1)
        assert format.offset(stop) - format.offset(start) <= room


def test_far_blocks_have_no_more_room_than_needed() -> None:
    """A position has room for a full block, or for the largest element if that is larger."""
    assert far_bytes(ArenaLayout(MIB, 1000, 1)) == BLOCK_BYTES
    largest = max(format.size(60_000_000) for format in FORMATS.values())
    room = far_bytes(ArenaLayout(MIB, 60_000_000, 1))
    assert BLOCK_BYTES < largest <= room < largest + PAGE_BYTES


def test_pages() -> None:
    """Sizes are rounded up to whole pages."""
    sizes = [0, 1, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 2 * PAGE_BYTES]
    assert [pages(size) // PAGE_BYTES for size in sizes] == [0, 1, 1, 1, 2, 2]
    assert all(pages(size) % PAGE_BYTES == 0 for size in sizes)


def test_header_holds_every_name() -> None:
    """The header has room for every format's name and any count."""
    for name in FORMATS:
        stored, count = HEADER.unpack(HEADER.pack(name.encode(), 2**64 - 1))
        assert (stored.rstrip(b"\0"), count) == (name.encode(), 2**64 - 1)
