"""The arrays of all formats: publication, readers, eviction and memory.

The arena is real, with small blocks; the test fills them.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.layout import HEADER
from fibserver.memory.shared_arrays import SharedArray
from tests.support.small_engine import (
    ARRAY,
    BLOCK_BYTES,
    ELEMENTS,
    FIRST_BLOCK_BYTES,
    JSON,
    MAX_INDEX,
    PAGE_BYTES,
    TEXT,
    Machine,
)

pytestmark = pytest.mark.usefixtures("small")

MEMORY_LIMIT = 6 * BLOCK_BYTES


class FakeReader:
    """A reader that records its notifications.

    Attributes:
        array_stop: The element after the last that it reads.
        progress: Number of calls of `on_progress`.
        failures: Arguments of the calls of `on_failure`.
    """

    def __init__(self, array_stop: int) -> None:
        self.array_stop = array_stop
        self.progress = 0
        self.failures: list[tuple[Block, str, str]] = []

    def on_progress(self) -> None:
        """Count the call."""
        self.progress += 1

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Record the failure."""
        self.failures.append((block, message, code))


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with memory for a few blocks."""
    machine = Machine(MEMORY_LIMIT)
    yield machine
    machine.close()


def next_task(machine: Machine, format: Format, stop: int = MAX_INDEX) -> Task:
    """Hand out the next block, which must exist."""
    block = machine.arrays[format].next_block(stop)
    assert block is not None
    return Task(Action.FILL, block)


def grow_by_force(machine: Machine, format: Format) -> None:
    """Fill the next block of an array, evicting others as needed."""
    machine.complete(next_task(machine, format))


def assert_right(machine: Machine, format: Format) -> None:
    """Assert that the published bytes, the index and the header of an array are correct."""
    array, elements = machine.arrays[format], ELEMENTS[format]
    content = b"".join(elements[: array.growth.published])
    assert machine.content(format) == content
    ends = [format.offset(n) for n in range(1, array.growth.published + 1)]
    assert machine.index(format) == ends
    position = machine.arena.layout.arrays[format].header_position
    name, published = HEADER.unpack(machine.arena.bytes_between(position, position + HEADER.size))
    assert (name.rstrip(b"\0").decode(), published) == (format.name, array.growth.published)


# One array.


def test_an_empty_array_takes_no_memory_to_read(machine: Machine) -> None:
    """The offset of element 0 is returned without touching a page, which could raise SIGBUS."""
    before = machine.resident_bytes
    for array in machine.arrays:
        assert array.offset(0) == 0
        assert array.slice_size(0, 10) == array.format.slice_size(0, 10)
    assert machine.resident_bytes == before


@pytest.mark.parametrize("format", ELEMENTS, ids=lambda format: format.name)
def test_published_elements(machine: Machine, format: Format) -> None:
    """Published elements can be read; sizes and offsets are the same as before."""
    machine.grow(format, 40_000)
    assert_right(machine, format)
    array = machine.arrays[format]
    published = array.growth.published
    for n in (0, 1, published - 1, published, published + 1, 10**6):
        assert array.offset(n) == format.offset(n)
    for start, stop in ((0, 1), (5, 5), (3, published), (3, published + 1), (published, 10**6)):
        assert array.slice_size(start, stop) == format.slice_size(start, stop)


def test_readers_are_notified_of_progress(machine: Machine) -> None:
    """Readers are notified when elements are published, until they are discarded."""
    array = machine.arrays[JSON]
    reader, gone = FakeReader(500), FakeReader(500)
    for added in (reader, gone):
        array.add_reader(added)
        array.add_reader(added)  # twice has no effect
    array.discard_reader(gone)
    array.discard_reader(gone)
    first, second, third = (next_task(machine, JSON) for _ in range(3))
    machine.complete(second)
    assert reader.progress == 0, "nothing is published before the first block"
    machine.complete(first)
    machine.complete(third)
    assert reader.progress == 2
    assert gone.progress == 0


def test_readers_are_notified_of_failure(machine: Machine) -> None:
    """Only readers that need a failed block are notified."""
    array = machine.arrays[JSON]
    first, second = next_task(machine, JSON).block, next_task(machine, JSON).block
    satisfied, needy, far = FakeReader(first.stop), FakeReader(first.stop + 1), FakeReader(900)
    for reader in (satisfied, needy, far):
        array.add_reader(reader)
    array.block_failed(second, "no room", "NOSPACE")
    assert satisfied.failures == []
    assert needy.failures == far.failures == [(second, "no room", "NOSPACE")]


def test_a_failed_block_is_handed_out_again(machine: Machine) -> None:
    """A failed block is handed out again before any new one."""
    first, second = next_task(machine, JSON), next_task(machine, JSON)
    machine.fail(second)
    array = machine.arrays[JSON]
    assert array.next_block(first.block.stop) is None, "it needs no other block"
    assert next_task(machine, JSON) == second
    assert next_task(machine, JSON).block.start == second.block.stop


def test_nothing_is_handed_out_twice(machine: Machine) -> None:
    """A block in flight is not handed out again."""
    task = next_task(machine, JSON, 10)
    array = machine.arrays[JSON]
    assert array.next_block(task.block.stop) is None
    assert array.next_block(0) is None


def test_the_arrays_of_all_formats(machine: Machine) -> None:
    """There is one array per format, all empty at first."""
    assert [array.format for array in machine.arrays] == list(FORMATS.values())
    for format in FORMATS.values():
        assert machine.arrays[format].format is format
        assert machine.arrays[format].used_bytes == 0


# Memory.


def test_memory_limit_is_exact() -> None:
    """A block that fills the memory exactly is handed out; with one byte less it is not."""
    size = JSON.offset(JSON.stop_within(0, FIRST_BLOCK_BYTES))
    for limit, is_given in ((size, True), (size - 1, False)):
        machine = Machine(limit)
        assert (machine.arrays[JSON].next_block(1) is not None) == is_given
        assert machine.memory.used_bytes == (size if is_given else 0)
        machine.close()


def test_blocks_count_before_they_are_filled(machine: Machine) -> None:
    """A block takes memory as soon as it is handed out, and still does when it has failed."""
    array = machine.arrays[JSON]
    task = next_task(machine, JSON)
    assert array.used_bytes == machine.memory.used_bytes == task.block.size
    machine.fail(task)
    assert array.used_bytes == task.block.size
    machine.complete(next_task(machine, JSON))
    assert array.used_bytes == task.block.size


def test_an_array_does_not_give_way_to_itself(machine: Machine) -> None:
    """An array that fills the memory alone does not evict its own blocks."""
    array = machine.arrays[JSON]
    while (block := array.next_block(MAX_INDEX)) is not None:
        machine.complete(Task(Action.FILL, block))
    assert MEMORY_LIMIT - BLOCK_BYTES < machine.memory.used_bytes <= MEMORY_LIMIT
    assert machine.memory.evictions == 0
    assert_right(machine, JSON)


def has_room(machine: Machine, array: SharedArray) -> bool:
    """Return whether the next block of an array fits without evictions."""
    size = array.growth.next_size()
    return size is not None and machine.memory.used_bytes + size <= MEMORY_LIMIT


def fill_memory(machine: Machine, *formats: Format) -> None:
    """Let the arrays take one block each in turn until memory is full."""
    while True:
        for format in formats:
            if not has_room(machine, machine.arrays[format]):
                assert machine.memory.evictions == 0
                return
            machine.complete(next_task(machine, format))
            machine.clock.now += 1


def tail_of(machine: Machine, format: Format) -> Block:
    """Return the last block of an array."""
    tail = machine.arrays[format].growth.tail
    assert tail is not None
    return tail


def last_use_of_tail(machine: Machine, format: Format) -> float:
    """Return when the tail of an array was last used; it must exist."""
    last_use = machine.arrays[format].oldest_use
    assert last_use is not None
    return last_use


def evict_one(machine: Machine, format: Format) -> None:
    """Let an array grow until others evict a block, or several for a larger one."""
    while not machine.memory.evictions:
        grow_by_force(machine, format)


@pytest.mark.parametrize(("used_last", "coldest"), [(JSON, TEXT), (TEXT, JSON)])
def test_least_recently_used_tail_is_evicted(
    machine: Machine, used_last: Format, coldest: Format
) -> None:
    """The tail that was used longest ago is evicted first."""
    fill_memory(machine, JSON, TEXT)
    machine.clock.now += 1
    machine.arrays[used_last].touch(MAX_INDEX)
    tail, other_tail = tail_of(machine, coldest), tail_of(machine, used_last)
    evict_one(machine, ARRAY)
    assert machine.memory.evictions == 1
    assert machine.arrays[coldest].growth.frontier == tail.start
    assert tail_of(machine, used_last) == other_tail
    for format in (JSON, TEXT, ARRAY):
        assert_right(machine, format)


def test_tails_give_way_in_the_order_of_their_last_use(machine: Machine) -> None:
    """Each eviction takes the tail that was used longest ago."""
    fill_memory(machine, JSON, TEXT)
    for format, share in ((JSON, 1.0), (TEXT, 1.0), (TEXT, 0.3), (JSON, 0.3), (TEXT, 0.1)):
        machine.clock.now += 1
        machine.arrays[format].touch(int(machine.arrays[format].growth.frontier * share))
    evicted: set[Format] = set()
    while machine.memory.evictions < 5:
        tails = {
            format: tail
            for format in (JSON, TEXT)
            if (tail := machine.arrays[format].growth.tail) is not None
        }
        times = {format: last_use_of_tail(machine, format) for format in tails}
        count = machine.memory.evictions
        grow_by_force(machine, ARRAY)
        if machine.memory.evictions == count + 1:
            coldest = min(times, key=times.__getitem__)
            for format, tail in tails.items():
                is_evicted = machine.arrays[format].growth.frontier == tail.start
                assert is_evicted == (format is coldest)
            evicted.add(coldest)
    assert evicted == {JSON, TEXT}


def test_a_new_tail_is_warm(machine: Machine) -> None:
    """Handing out a block counts as its use, so it is not evicted first."""
    fill_memory(machine, JSON, TEXT)
    latest = max((JSON, TEXT), key=lambda format: last_use_of_tail(machine, format))
    tail = tail_of(machine, latest)
    evict_one(machine, ARRAY)
    assert tail_of(machine, latest) == tail
    assert last_use_of_tail(machine, ARRAY) == machine.clock.now


def test_touched_tail_is_evicted_later(machine: Machine) -> None:
    """`touch` affects the block of the last element, or the tail if the slice ends after it."""
    array = machine.arrays[JSON]
    array.touch(5)
    machine.grow(JSON, 3 * FIRST_BLOCK_BYTES)
    first_use = array.oldest_use
    machine.clock.now += 1
    tail = tail_of(machine, JSON)
    array.touch(tail.start)
    assert array.oldest_use == first_use
    array.touch(tail.start + 1)
    assert array.oldest_use == machine.clock.now
    machine.clock.now += 1
    array.touch(tail.stop)
    assert array.oldest_use == machine.clock.now
    machine.clock.now += 1
    array.touch(10**9)
    assert array.oldest_use == machine.clock.now


def test_a_use_of_the_tail_is_a_use_of_the_block_before(machine: Machine) -> None:
    """The block before an evicted tail is not older than that was, and may be younger."""
    array = machine.arrays[JSON]
    machine.grow(JSON, 3 * FIRST_BLOCK_BYTES)
    machine.clock.now += 1
    array.touch(MAX_INDEX)
    last_use = array.oldest_use
    array.evict_oldest()
    assert array.oldest_use == last_use
    machine.clock.now += 1
    array.touch(1)
    while tail_of(machine, JSON).start > 0:
        assert array.oldest_use == last_use
        array.evict_oldest()
    assert array.oldest_use == machine.clock.now


def test_a_failed_block_needs_no_more_memory(machine: Machine) -> None:
    """A failed block is handed out again although the memory is full."""
    fill_memory(machine, JSON)
    array = machine.arrays[TEXT]
    while has_room(machine, array):
        block = array.next_block(MAX_INDEX)
        assert block is not None
    array.add_reader(FakeReader(MAX_INDEX))
    machine.arrays[JSON].add_reader(FakeReader(MAX_INDEX))
    assert array.next_block(MAX_INDEX) is None
    tail = tail_of(machine, TEXT)
    machine.fail(Task(Action.FILL, tail))
    assert array.next_block(MAX_INDEX) == tail
    assert machine.memory.evictions == 0


def protected(machine: Machine) -> SharedArray:
    """Fill the memory with one array; return it."""
    fill_memory(machine, JSON)
    return machine.arrays[JSON]


def assert_wanted_in_vain(machine: Machine) -> None:
    """Assert that another array finds no room for a block."""
    array = machine.arrays[TEXT]
    while has_room(machine, array):
        machine.complete(next_task(machine, TEXT))
    assert array.next_block(MAX_INDEX) is None
    assert machine.memory.evictions == 0


def test_a_reader_protects_what_it_reads(machine: Machine) -> None:
    """Blocks below a reader's stop are not evicted until it is discarded."""
    array = protected(machine)
    reader = FakeReader(tail_of(machine, JSON).start + 1)
    array.add_reader(FakeReader(0))
    array.add_reader(reader)
    assert array.oldest_use is None
    assert_wanted_in_vain(machine)
    array.discard_reader(reader)
    assert array.oldest_use is not None
    grow_by_force(machine, TEXT)
    assert machine.memory.evictions


def test_a_reader_protects_no_more_than_it_reads(machine: Machine) -> None:
    """Blocks at or after a reader's stop may be evicted."""
    array = protected(machine)
    stop = tail_of(machine, JSON).start
    array.add_reader(FakeReader(stop))
    while machine.arrays[TEXT].next_block(MAX_INDEX) is not None:
        assert array.growth.published >= stop
    assert machine.memory.evictions == 1
    assert array.growth.published == stop


def test_a_block_in_a_workers_hand_stays(machine: Machine) -> None:
    """An array with a block in flight does not shrink; a failed block may be evicted."""
    array = machine.arrays[JSON]
    machine.grow(JSON, MEMORY_LIMIT // 2)
    task = next_task(machine, JSON)
    assert array.oldest_use is None
    assert_wanted_in_vain(machine)
    machine.fail(task)
    assert array.oldest_use is not None
    grow_by_force(machine, TEXT)
    assert machine.memory.evictions == 1
    assert array.growth.frontier == task.block.start


def test_an_empty_array_cannot_shrink(machine: Machine) -> None:
    """An empty array has nothing to evict."""
    array = machine.arrays[JSON]
    assert array.oldest_use is None
    with pytest.raises(AssertionError, match="empty array"):
        array.evict_oldest()


def test_evictions_are_counted(machine: Machine) -> None:
    """Each evicted block counts, whichever array it was evicted from."""
    for format in (JSON, TEXT):
        machine.grow(format, 3 * FIRST_BLOCK_BYTES)
    for count, format in enumerate((JSON, TEXT, JSON), start=1):
        machine.arrays[format].evict_oldest()
        assert machine.memory.evictions == count


# Pages.


def test_pages_are_given_back(machine: Machine) -> None:
    """An array that has shrunk to nothing keeps at most one page of its index."""
    before = machine.resident_bytes
    machine.grow(JSON, 40_000)
    assert machine.resident_bytes >= before + 40_000
    array = machine.arrays[JSON]
    while array.growth.tail is not None:
        tail = array.growth.tail
        array.evict_oldest()
        taken = machine.resident_bytes - before
        assert taken <= JSON.offset(tail.start) + 8 * tail.start + 3 * PAGE_BYTES
        assert_right(machine, JSON)
    assert taken <= PAGE_BYTES


def test_an_array_grows_again(machine: Machine) -> None:
    """Evicted blocks can be computed again, and are correct."""
    machine.grow(JSON, 40_000)
    content = machine.content(JSON)
    array = machine.arrays[JSON]
    for _ in range(3):
        array.evict_oldest()
    assert len(machine.content(JSON)) < len(content)
    machine.grow(JSON, 40_000)
    assert machine.content(JSON) == content
    assert_right(machine, JSON)


def test_evicted_pages_read_as_zeros(machine: Machine) -> None:
    """Evicted pages are freed: they read as zeros."""
    machine.grow(JSON, 40_000)
    array = machine.arrays[JSON]
    tail = tail_of(machine, JSON)
    array.evict_oldest()
    start = -(-tail.position // PAGE_BYTES) * PAGE_BYTES
    view = machine.arena.bytes_between(start, tail.position + tail.size)
    assert bytes(view) == bytes(len(view))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.sampled_from(list(ELEMENTS)), st.integers(1, MAX_INDEX), st.integers(0, 9)),
        max_size=30,
    ),
)
def test_arrays_stay_correct_while_evicting(
    blocks: int, wishes: list[tuple[Format, int, int]]
) -> None:
    """Arrays that evict each other's blocks keep to the limit and stay correct."""
    machine = Machine(blocks * BLOCK_BYTES // 2)
    empty = machine.resident_bytes
    try:
        for format, stop, seconds in wishes:
            machine.clock.now += seconds
            array = machine.arrays[format]
            block = array.next_block(stop)
            if block is not None:
                machine.complete(Task(Action.FILL, block))
            array.touch(stop)
            assert machine.memory.used_bytes <= blocks * BLOCK_BYTES // 2
        for format in ELEMENTS:
            assert_right(machine, format)
        # The indexes, and up to three partial pages for each array's data and index.
        index_bytes = sum(8 * array.growth.frontier for array in machine.arrays)
        limit = machine.memory.used_bytes + index_bytes + 6 * PAGE_BYTES * len(FORMATS)
        assert machine.resident_bytes - empty <= limit
    finally:
        machine.close()
