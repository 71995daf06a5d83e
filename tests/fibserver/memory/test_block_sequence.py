"""Growth of an array: block boundaries and publication."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fibcommon.formats import FORMATS, Format
from fibserver.memory.block_sequence import FIRST_BLOCK_BYTES, BlockSequence
from fibserver.memory.blocks import BLOCK_BYTES, Block
from fibserver.memory.layout import INDEX_ENTRY_BYTES, ArenaLayout, ArrayLayout

MIB = 1024 * 1024


def layout_of(format: Format, memory_limit: int = 40 * MIB) -> ArrayLayout:
    """Return the layout of a format's array with this capacity."""
    return ArenaLayout(memory_limit, 1000, 0).arrays[format]


JSON = layout_of(FORMATS["json"])

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def hand_out_all(growth: BlockSequence) -> list[Block]:
    """Hand out every block for which there is room."""
    blocks = []
    while growth.next_size() is not None:
        blocks.append(growth.extend())
    return blocks


def all_blocks(layout: ArrayLayout) -> list[Block]:
    """Return the blocks of a whole array."""
    return hand_out_all(BlockSequence(layout))


GRID = all_blocks(JSON)
ENDS = [0, *(block.stop for block in GRID)]


@every_format
def test_blocks_tile_the_array(format: Format) -> None:
    """Blocks cover elements, bytes and index entries without gap or overlap."""
    layout = layout_of(format)
    blocks = all_blocks(layout)
    assert blocks[0].start == 0
    assert blocks[0].position == layout.data_position
    for block, following in pairwise(blocks):
        assert block.stop == following.start
        assert block.position + block.size == following.position
    for block in blocks:
        assert block.format is format
        assert block.start < block.stop
        assert block.position == layout.data_position + format.offset(block.start)
        assert block.size == format.offset(block.stop) - format.offset(block.start)
        # Entry 0, the offset of element 0, is not part of any block.
        assert block.index_position == layout.index_position + INDEX_ENTRY_BYTES * (
            block.start + 1
        )
        assert block.is_resident


@every_format
def test_blocks_double(format: Format) -> None:
    """The first block is small; each further one is twice as large, up to the full size."""
    blocks = all_blocks(layout_of(format))
    limits = [min(FIRST_BLOCK_BYTES * 2**number, BLOCK_BYTES) for number in range(len(blocks))]
    assert limits[0] < limits[-1] == BLOCK_BYTES
    for block, limit in zip(blocks, limits, strict=True):
        assert block.size <= limit < block.size + format.size(block.stop), "one more would fit"


@every_format
@pytest.mark.parametrize("memory_limit", [MIB, MIB + 1, 5 * MIB, 33_333_333])
def test_capacity_is_respected(format: Format, memory_limit: int) -> None:
    """No block exceeds the capacity in bytes or elements."""
    layout = layout_of(format, memory_limit)
    last = all_blocks(layout)[-1]
    assert last.stop <= layout.capacity_elements
    assert last.position + last.size <= layout.data_position + layout.capacity_bytes


@settings(deadline=None)
@given(
    st.sampled_from(list(FORMATS.values())),
    st.integers(0, 40 * MIB),
    st.integers(0, 20_000),
)
def test_the_grid_does_not_depend_on_the_capacity(
    format: Format, capacity_bytes: int, capacity_elements: int
) -> None:
    """A smaller capacity means fewer blocks, but no other boundaries."""
    grid = all_blocks(layout_of(format))
    layout = ArrayLayout(format, 0, 4096, grid[0].position, capacity_bytes, capacity_elements)
    blocks = all_blocks(layout)
    fitting = [
        block
        for block in grid
        if block.stop <= capacity_elements and format.offset(block.stop) <= capacity_bytes
    ]
    assert [block[:5] for block in blocks] == [block[:5] for block in fitting]


def test_a_block_that_fits_exactly() -> None:
    """A block may use the last byte and the last element of the capacity, but no more."""
    end, elements = JSON.format.offset(GRID[2].stop), GRID[2].stop
    for capacity_bytes, capacity_elements, count in (
        (end, elements, 3),
        (end - 1, elements, 2),
        (end, elements - 1, 2),
    ):
        layout = ArrayLayout(JSON.format, 0, 4096, 8192, capacity_bytes, capacity_elements)
        assert len(all_blocks(layout)) == count


def test_element_larger_than_a_block() -> None:
    """A block holds at least one element, however large."""
    huge = Format("huge", "text/plain", ("x" * (BLOCK_BYTES + 1), *FORMATS["text"].element))
    blocks = all_blocks(ArrayLayout(huge, 0, 4096, 8192, 10 * BLOCK_BYTES, 9))
    assert [(block.start, block.stop) for block in blocks] == [(n, n + 1) for n in range(9)]
    assert all(block.size > BLOCK_BYTES for block in blocks)


def test_an_empty_array() -> None:
    """A new array has no elements, no tail and no blocks to reclaim."""
    growth = BlockSequence(JSON)
    assert (growth.published, growth.published_bytes) == (0, 0)
    assert (growth.frontier, growth.frontier_bytes) == (0, 0)
    assert growth.has_none_in_flight
    assert growth.tail is None
    assert growth.reclaim_block(10**9) is None


def test_next_size_changes_nothing() -> None:
    """`next_size` returns the size of the next block and changes nothing."""
    growth = BlockSequence(JSON)
    for block in GRID:
        assert growth.next_size() == growth.next_size() == block.size
        assert growth.frontier == block.start
        assert growth.extend() == block
    assert growth.next_size() is None


@settings(deadline=None)
@given(st.permutations(range(len(GRID))))
def test_publication_is_in_order(order: list[int]) -> None:
    """The published elements are a prefix, whatever the order in which blocks are finished."""
    growth = BlockSequence(JSON)
    blocks = hand_out_all(growth)
    finished: set[int] = set()
    for number in order:
        before = growth.published
        has_grown = growth.finish(blocks[number])
        finished.add(number)
        prefix = next(k for k in range(len(GRID) + 1) if k not in finished)
        assert growth.published == ENDS[prefix]
        assert growth.published_bytes == JSON.format.offset(growth.published)
        assert has_grown == (growth.published > before)


def test_block_given_back_holds_back_publication() -> None:
    """Nothing after a failed block is published until a retry succeeds."""
    growth = BlockSequence(JSON)
    first, second, third = hand_out_all(growth)[:3]
    assert growth.finish(first)
    growth.return_block(second)
    assert not growth.finish(third)
    assert growth.published == first.stop
    assert growth.reclaim_block(third.stop) == second
    assert growth.finish(second)
    assert growth.published == third.stop


def test_failed_block_is_reclaimed_only_if_needed() -> None:
    """A failed block is handed out again only if one of its elements is needed, lowest first."""
    growth = BlockSequence(JSON)
    blocks = hand_out_all(growth)
    for number in (4, 1, 3):
        growth.return_block(blocks[number])
    assert growth.reclaim_block(blocks[1].start) is None
    assert growth.reclaim_block(blocks[1].start + 1) == blocks[1]
    assert growth.reclaim_block(blocks[3].start) is None
    assert growth.reclaim_block(blocks[9].stop) == blocks[3]
    assert growth.reclaim_block(blocks[9].stop) == blocks[4]
    assert growth.reclaim_block(blocks[9].stop) is None


def test_the_tail_stays_while_a_worker_has_a_block() -> None:
    """An array with a block in flight must not shrink."""
    growth = BlockSequence(JSON)
    assert growth.next_size()
    block = growth.extend()
    assert not growth.has_none_in_flight
    with pytest.raises(AssertionError, match="a worker may still write"):
        growth.remove_tail()
    growth.finish(block)
    assert growth.has_none_in_flight
    growth.remove_tail()
    assert growth.tail is None


class GrowingArray(RuleBasedStateMachine):
    """Random sequences of handing out, finishing, giving back, reclaiming and shrinking."""

    def __init__(self) -> None:
        super().__init__()
        self.growth = BlockSequence(JSON)
        self.in_hand: list[int] = []
        self.finished: set[int] = set()
        self.given_back: set[int] = set()
        self.count = 0

    @precondition(lambda self: self.count < len(GRID))
    @rule()
    def extend(self) -> None:
        """Hand out the next block."""
        assert self.growth.next_size() == GRID[self.count].size
        assert self.growth.extend() == GRID[self.count]
        self.in_hand.append(self.count)
        self.count += 1

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Finish a block in flight."""
        number = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(number)
        before = self.growth.published
        has_grown = self.growth.finish(GRID[number])
        self.finished.add(number)
        assert has_grown == (self.growth.published > before)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def return_block(self, data: st.DataObject) -> None:
        """Give back a block in flight."""
        number = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(number)
        self.growth.return_block(GRID[number])
        self.given_back.add(number)

    @rule(stop=st.integers(0, JSON.capacity_elements))
    def reclaim(self, stop: int) -> None:
        """Reclaim the lowest block given back, if it starts below `stop`."""
        lowest = min(self.given_back, default=None)
        block = self.growth.reclaim_block(stop)
        if lowest is None or GRID[lowest].start >= stop:
            assert block is None
        else:
            assert block == GRID[lowest]
            self.given_back.remove(lowest)
            self.in_hand.append(lowest)

    @precondition(lambda self: self.count and not self.in_hand)
    @rule()
    def remove_tail(self) -> None:
        """Remove the tail, finished or given back."""
        self.growth.remove_tail()
        self.count -= 1
        self.finished.discard(self.count)
        self.given_back.discard(self.count)

    @invariant()
    def frontier_is_the_end_of_the_tail(self) -> None:
        """The frontier is the end of the tail, filled or not."""
        assert self.growth.tail == (GRID[self.count - 1] if self.count else None)
        assert self.growth.frontier == ENDS[self.count]
        assert self.growth.frontier_bytes == JSON.format.offset(self.growth.frontier)

    @invariant()
    def published_is_the_finished_prefix(self) -> None:
        """Publication ends at the first block that is not finished."""
        prefix = next(k for k in range(self.count + 1) if k not in self.finished)
        assert self.growth.published == ENDS[prefix]
        assert self.growth.published_bytes == JSON.format.offset(self.growth.published)

    @invariant()
    def settled_means_that_no_worker_has_a_block(self) -> None:
        """Blocks that are finished or given back are not in flight."""
        assert self.growth.has_none_in_flight == (not self.in_hand)


TestGrowingArray = GrowingArray.TestCase
TestGrowingArray.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
