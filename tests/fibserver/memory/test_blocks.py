"""Blocks: their properties, and the ends of far ones."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.costs import EXPENSIVE_SECONDS, first_element_seconds, slice_seconds
from fibcommon.formats import FORMATS, Format
from fibserver.memory.blocks import (
    BLOCK_BYTES,
    NO_BLOCK,
    READ_BYTES_PER_SECOND,
    READ_SECONDS,
    Action,
    Block,
    Task,
    stop_of_block,
)

TEXT = FORMATS["text"]
FAR = 10**12
"""A stop that no block reaches."""

formats = st.sampled_from(list(FORMATS.values()))
elements = st.one_of(
    st.integers(0, 5_000), st.integers(0, 10_000_000), st.integers(10_000_000, 60_000_000)
)
"""Near elements, those that the default settings allow, and some larger than a block."""


def size_of(format: Format, start: int, stop: int) -> int:
    """Return the size of a run of elements in bytes."""
    return format.offset(stop) - format.offset(start)


@settings(deadline=None)
@given(formats, elements)
def test_a_block_ends_at_a_multiple_of_the_largest_power_that_fits(
    format: Format, start: int
) -> None:
    """Blocks end at multiples of the largest power of two with which they surely fit."""
    powers = [2**k for k in range(40)]
    ends = {power: (start // power + 1) * power for power in powers}
    fitting = [power for power in powers if power * format.size(ends[power]) <= BLOCK_BYTES]
    assert stop_of_block(format, start, FAR) == ends[max(fitting, default=1)]


@settings(deadline=None)
@given(formats, elements)
def test_a_block_fits(format: Format, start: int) -> None:
    """A block is no larger than `BLOCK_BYTES`, unless it is a single element."""
    stop = stop_of_block(format, start, FAR)
    assert start < stop
    assert stop == start + 1 or size_of(format, start, stop) <= BLOCK_BYTES


@settings(deadline=None)
@given(formats, elements, st.data())
def test_answers_that_overlap_are_cut_alike(
    format: Format, start: int, data: st.DataObject
) -> None:
    """A slice that starts within a block has its first block end where that one ends."""
    stop = stop_of_block(format, start, FAR)
    inside = data.draw(st.integers(start, stop - 1))
    assert stop_of_block(format, inside, FAR) == stop


@settings(deadline=None)
@given(formats, elements, st.integers(1, 100_000))
def test_an_answer_ends_its_last_block(format: Format, start: int, count: int) -> None:
    """A block ends no later than its slice."""
    stop = stop_of_block(format, start, FAR)
    assert stop_of_block(format, start, start + count) == min(stop, start + count)


@settings(deadline=None)
@given(formats, elements, st.integers(1, 3_000))
def test_blocks_tile_an_answer(format: Format, start: int, count: int) -> None:
    """Blocks cover a slice without gap or overlap, and are few."""
    cuts = [start]
    while cuts[-1] < start + count:
        cuts.append(stop_of_block(format, cuts[-1], start + count))
    assert cuts[-1] == start + count
    assert all(one < next_one for one, next_one in pairwise(cuts))
    # Inner blocks are larger than about a quarter of BLOCK_BYTES: at least half of it is used,
    # and the power of two may be half of what fits. (A single element may have any size.)
    inner = [size_of(format, *cut) for cut in pairwise(cuts[1:-1])]
    assert all(size > BLOCK_BYTES // 5 for size in inner)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 46, 47, 48])
def test_the_first_blocks(format: Format, start: int) -> None:
    """Blocks are valid although the first elements have irregular sizes."""
    stop = stop_of_block(format, start, FAR)
    assert stop & (stop - 1) == 0, "the first block ends at a power of two"
    assert BLOCK_BYTES // 8 < size_of(format, 0, stop) <= BLOCK_BYTES


def test_a_block_with_an_index_is_resident() -> None:
    """A block is resident if it has a position for index entries."""
    assert not Block(TEXT, 0, 5, 4096, 10).is_resident
    assert Block(TEXT, 0, 5, 8192, 10, index_position=4104).is_resident


def test_tasks_on_far_blocks_are_expensive() -> None:
    """Filling is expensive if the first element is predicted to take over EXPENSIVE_SECONDS."""
    for format in (TEXT, FORMATS["binary"]):
        for start in (0, 400_000, 900_000, 1_000_000, 10**7):
            block = Block(format, start, start + 10, 0, 1)
            assert block.cost_seconds == first_element_seconds(format, start)
            task = Task(Action.FILL, block)
            assert task.cost_seconds == block.cost_seconds
            assert task.is_expensive == (start > 900_000)
            assert not Task(Action.SAVE, block).is_expensive


def test_calculations_are_expensive() -> None:
    """A calculation is expensive if it is predicted to take over EXPENSIVE_SECONDS."""
    for seconds in (0.0, EXPENSIVE_SECONDS, 2 * EXPENSIVE_SECONDS):
        task = Task(Action.CALCULATE, expression=b"mod 1 2", expression_seconds=seconds)
        assert task.is_expensive == (seconds > EXPENSIVE_SECONDS)


def far_block(format: Format, start: int, stop: int) -> Block:
    """Return a far block."""
    return Block(format, start, stop, 4096, size_of(format, start, stop))


@pytest.mark.parametrize(
    ("block", "is_worth_reading"),
    [
        (far_block(TEXT, 0, 1), False),
        (far_block(TEXT, 100_000, 100_001), False),
        (far_block(TEXT, 30_000, 30_500), False),
        (far_block(TEXT, 1_000_000, 1_000_001), True),
        (far_block(TEXT, 10_000_000, 10_000_001), True),
        (far_block(FORMATS["binary"], 10_000_000, 10_000_001), True),
        (far_block(TEXT, 1_000_000, 1_000_019), True),
    ],
)
def test_blocks_worth_reading(block: Block, is_worth_reading: bool) -> None:
    """A block is worth reading from a disk if that is cheaper than computing it."""
    assert block.is_worth_reading == is_worth_reading


def test_blocks_of_arrays_are_not_worth_reading() -> None:
    """A resident block is computed, however expensive it is."""
    block = far_block(TEXT, 10_000_000, 10_000_001)
    assert not block._replace(index_position=8192).is_worth_reading


@settings(deadline=None)
@given(formats, elements)
def test_worth_reading_depends_on_both_times(format: Format, start: int) -> None:
    """The predicted time to compute a block is compared with that to read it."""
    block = far_block(format, start, stop_of_block(format, start, FAR))
    read_seconds = READ_SECONDS + block.size / READ_BYTES_PER_SECOND
    compute_seconds = slice_seconds(format, start, block.size)
    assert block.is_worth_reading == (compute_seconds > read_seconds)


@pytest.mark.parametrize("action", Action)
def test_only_filling_is_expensive(action: Action) -> None:
    """A task is expensive if it fills an expensive block; files are handled by any worker."""
    for start in (0, 10**7):
        task = Task(action, far_block(TEXT, start, start + 1))
        assert task.is_expensive == (action is Action.FILL and start > 0)
        assert task.checksum == 0
    assert not Task(action, NO_BLOCK).is_expensive
