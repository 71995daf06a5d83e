"""The fair queue: whose block is next."""

from fibclient.formats import FORMATS
from fibserver.fair_queue import FairQueue
from fibserver.growth import Block


def block(number: int) -> Block:
    """A block that is told from others by its number."""
    return Block(FORMATS["text"], number, 0, 1, 0, 2, 8)


class FakeSource:
    """A source of blocks with the given numbers, which counts how often it is asked."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = list(numbers)
        self.times_asked = 0

    def next_block(self) -> Block | None:
        """Return the next block."""
        self.times_asked += 1
        return block(self._numbers.pop(0)) if self._numbers else None


def queue_of(*sources: FakeSource) -> FairQueue:
    """A queue in which these sources wait, in this order."""
    queue = FairQueue()
    for source in sources:
        queue.add(source)
    return queue


def numbers(queue: FairQueue) -> list[int]:
    """Take everything; return the blocks' numbers."""
    taken = []
    while (block := queue.take()) is not None:
        taken.append(block.number)
    return taken


def test_empty() -> None:
    """Nothing is to be had from an empty queue."""
    assert FairQueue().take() is None


def test_sources_take_turns() -> None:
    """Each source gets a block a turn, so a small one is done long before a huge one."""
    queue = queue_of(FakeSource(10, 11, 12, 13), FakeSource(20), FakeSource(30, 31))
    assert numbers(queue) == [10, 20, 30, 11, 31, 12, 13]


def test_new_source_waits_for_one_round() -> None:
    """A source that comes later is served after one block of each that waits."""
    queue = queue_of(FakeSource(10, 11, 12), FakeSource(20, 21))
    assert queue.take() == block(10)
    queue.add(FakeSource(30))
    assert numbers(queue) == [20, 11, 30, 21, 12]


def test_adding_twice_gives_no_second_turn() -> None:
    """A source that is added again keeps its one place."""
    source = FakeSource(10, 11)
    assert numbers(queue_of(source, FakeSource(20), source)) == [10, 20, 11]


def test_block_put_back_goes_first() -> None:
    """Blocks whose workers died go ahead of all turns, the one that waits longest first."""
    queue = queue_of(FakeSource(10, 11))
    assert queue.take() == block(10)
    queue.put_back(block(98))
    queue.put_back(block(99))
    assert numbers(queue) == [98, 99, 11]


def test_discard() -> None:
    """A source that is discarded is asked no more; one that does not wait may be discarded."""
    gone, kept = FakeSource(10, 11), FakeSource(20, 21)
    queue = queue_of(gone, kept)
    assert queue.take() == block(10)
    queue.discard(gone)
    queue.discard(FakeSource())
    assert numbers(queue) == [20, 21]
    assert gone.times_asked == 1


def test_exhausted_source_vanishes() -> None:
    """A source with nothing left is not asked again until it is added again."""
    empty = FakeSource()
    queue = queue_of(empty, FakeSource(20, 21))
    assert numbers(queue) == [20, 21]
    assert queue.take() is None
    assert empty.times_asked == 1
    queue.add(empty)
    assert queue.take() is None
    assert empty.times_asked == 2
