"""The growth of an array: its blocks, and what is published when."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibclient.formats import FORMATS, Format
from fibserver.growth import BLOCK_BYTES, FIRST_BLOCK_BYTES, Block, Growth
from fibserver.layout import INDEX_ENTRY_BYTES, ArenaLayout, ArrayLayout

MIB = 1024 * 1024
LAYOUTS = ArenaLayout(40 * MIB).arrays
JSON = LAYOUTS[FORMATS["json"]]

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def hand_out(growth: Growth, stop: int) -> list[Block]:
    """Take every block up to element stop-1."""
    last = growth.block_reaching(stop)
    blocks = []
    while (block := growth.next_block(last)) is not None:
        blocks.append(block)
    return blocks


def all_blocks(layout: ArrayLayout) -> list[Block]:
    """The blocks of a whole array."""
    return hand_out(Growth(layout), layout.capacity_elements)


JSON_BLOCKS = all_blocks(JSON)


@every_format
def test_blocks_tile_the_array(format: Format) -> None:
    """The blocks cover all elements, their bytes and index entries, without gap or overlap."""
    layout = LAYOUTS[format]
    blocks = all_blocks(layout)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert blocks[0].start == 0
    assert blocks[0].position == layout.data_position
    assert blocks[-1].stop == layout.capacity_elements
    for block, following in pairwise(blocks):
        assert block.stop == following.start
        assert block.position + block.size == following.position
    for block in blocks:
        assert block.format is format
        assert block.start < block.stop
        assert block.position == layout.data_position + format.offset(block.start)
        assert block.size == format.offset(block.stop) - format.offset(block.start)
        # Entry 0, the offset of element 0, belongs to no block.
        assert block.index_position == layout.index_position + INDEX_ENTRY_BYTES * (
            block.start + 1
        )


@every_format
def test_blocks_double(format: Format) -> None:
    """The first block is small, each further one twice as large up to the full size."""
    blocks = all_blocks(LAYOUTS[format])
    limits = [min(FIRST_BLOCK_BYTES * 2**number, BLOCK_BYTES) for number in range(len(blocks))]
    assert limits[0] < limits[-1] == BLOCK_BYTES
    for block, limit in zip(blocks, limits, strict=True):
        assert block.size <= limit
        is_last = block is blocks[-1]
        assert is_last or block.size + format.size(block.stop) > limit, "one more would fit"


@every_format
@pytest.mark.parametrize("memory_limit", [MIB, MIB + 1, 5 * MIB, 33_333_333])
def test_capacity_is_respected(format: Format, memory_limit: int) -> None:
    """No block reaches beyond the bytes or the elements that the array has room for."""
    layout = ArenaLayout(memory_limit).arrays[format]
    last = all_blocks(layout)[-1]
    assert last.stop == layout.capacity_elements
    assert last.position + last.size <= layout.data_position + layout.capacity_bytes


def test_element_larger_than_a_block() -> None:
    """A block holds at least one element, however large."""
    huge = Format("huge", "text/plain", ("x" * (BLOCK_BYTES + 1), *FORMATS["text"].element))
    blocks = all_blocks(ArrayLayout(huge, 0, 4096, 8192, 10 * BLOCK_BYTES, 9))
    assert [(block.start, block.stop) for block in blocks] == [(n, n + 1) for n in range(9)]
    assert all(block.size > BLOCK_BYTES for block in blocks)


@settings(deadline=None)
@given(st.permutations(range(len(JSON_BLOCKS))))
def test_publication_is_in_order(order: list[int]) -> None:
    """Whatever order blocks are finished in, what is published is a prefix without a gap."""
    growth = Growth(JSON)
    blocks = hand_out(growth, JSON.capacity_elements)
    finished: set[int] = set()
    for number in order:
        before = growth.published
        has_grown = growth.finish(blocks[number])
        finished.add(number)
        prefix = next((k for k in range(len(blocks)) if k not in finished), len(blocks))
        assert growth.published == (blocks[prefix - 1].stop if prefix else 0)
        assert growth.published_bytes == JSON.format.offset(growth.published)
        assert has_grown == (growth.published > before)
    assert growth.published == JSON.capacity_elements


@settings(deadline=None)
@given(st.lists(st.integers(0, JSON.capacity_elements), max_size=20))
def test_boundaries_do_not_depend_on_requests(stops: list[int]) -> None:
    """Two requests that miss the same elements miss the same blocks, whoever asked before."""
    growth = Growth(JSON)
    blocks = [block for stop in stops for block in hand_out(growth, stop)]
    assert blocks == JSON_BLOCKS[: len(blocks)]
    needed = max(stops, default=0)
    assert len(blocks) == sum(block.start < needed for block in JSON_BLOCKS)


@settings(deadline=None)
@given(st.integers(1, JSON.capacity_elements))
def test_block_reaching(stop: int) -> None:
    """The block that reaches `stop` holds element stop-1, and says what the array takes then."""
    growth = Growth(JSON)
    block = JSON_BLOCKS[growth.block_reaching(stop)]
    assert block.start < stop <= block.stop
    assert growth.size_to_reach(stop) == JSON.format.offset(block.stop)


def test_no_elements_need_no_block() -> None:
    """The first 0 elements are there without any block."""
    growth = Growth(JSON)
    assert growth.block_reaching(0) == -1
    assert growth.size_to_reach(0) == 0
    assert growth.next_block(-1) is None
    assert (growth.published, growth.published_bytes, growth.handed_out_bytes) == (0, 0, 0)


def test_handed_out_bytes() -> None:
    """What is handed out counts before it is filled."""
    growth = Growth(JSON)
    last = growth.block_reaching(JSON.capacity_elements)
    for block in JSON_BLOCKS:
        assert growth.next_block(last) == block
        assert growth.handed_out_bytes == JSON.format.offset(block.stop)
    assert growth.published == 0


def test_each_block_is_handed_out_once() -> None:
    """A block on its way to a worker is not handed to another."""
    growth = Growth(JSON)
    assert hand_out(growth, JSON.capacity_elements) == JSON_BLOCKS
    assert hand_out(growth, JSON.capacity_elements) == []


def test_block_given_back_is_handed_out_again() -> None:
    """Blocks given back go out again, the lowest first and once each, before new ones."""
    growth = Growth(JSON)
    blocks = hand_out(growth, JSON_BLOCKS[5].stop)
    for number in (4, 1, 3):
        growth.give_back(blocks[number])
    handed_out_bytes = growth.handed_out_bytes
    assert growth.next_block(0) is None, "this request does not reach as far as block 1"
    assert hand_out(growth, blocks[3].stop) == [blocks[1], blocks[3]]
    assert growth.handed_out_bytes == handed_out_bytes
    assert hand_out(growth, JSON_BLOCKS[7].stop) == [blocks[4], *JSON_BLOCKS[6:8]]


def test_block_given_back_holds_back_publication() -> None:
    """Nothing behind a block that failed is published until another try succeeds."""
    growth = Growth(JSON)
    first, second, third = hand_out(growth, JSON_BLOCKS[2].stop)
    assert growth.finish(first)
    growth.give_back(second)
    assert not growth.finish(third)
    assert growth.published == first.stop
    assert hand_out(growth, third.stop) == [second]
    assert growth.finish(second)
    assert growth.published == third.stop
