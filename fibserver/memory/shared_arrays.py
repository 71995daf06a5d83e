"""The arrays as the acceptor uses them: what is published, who reads it, who gives way.

All arrays together keep to `memory_limit`. When one wants to grow beyond it, the array whose
tail was used longest ago gives that tail back, block by block; never what an answer under
way still needs, nor what is being written or saved. If nobody can give way the array stays as it
is, and the answer that wanted more goes on with short-lived blocks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Protocol

from fibcommon.formats import Format
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.growth import Growth

__all__ = ["ArrayReader", "SharedArray", "SharedArrays"]


class ArrayReader(Protocol):
    """Something that reads an array, and may wait for more of it."""

    array_stop: int
    """It reads no elements from here on."""

    def on_progress(self) -> None:
        """Take note that more elements are published."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Take note that a block cannot be had, and why, as for an error reply."""


class SharedArray:
    """The published elements of one format, and the growth of the array.

    Attributes:
        format: how the elements are encoded.
        growth: which blocks there are, and their state.
        streamed_bytes: how many bytes of short-lived blocks have been sent in this format.
        pinned: the starts of blocks that must stay as they are for another reason than readers.
    """

    def __init__(self, arena: Arena, format: Format, clock: Callable[[], float]) -> None:
        self.format = format
        self.growth = Growth(arena.layout.arrays[format])
        self.streamed_bytes = 0
        self.pinned: set[int] = set()
        self._arena = arena
        self._clock = clock
        self._position = arena.layout.arrays[format].data_position
        self._index = arena.index(format)
        self._readers: dict[ArrayReader, None] = {}
        # For each block: where it ends, and when an answer last ended in it.
        self._block_stops: list[int] = []
        self._last_uses: list[float] = []

    def slice_size(self, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`, from the index if it is published."""
        if start < stop <= self.growth.published:
            return self.offset(stop) - self.offset(start) - self.format.separator_size
        return self.format.slice_size(start, stop)

    def offset(self, n: int) -> int:
        """Return `format.offset(n)`, from the index if it is published."""
        # The index has no page before its first block is filled, and reading one that is not
        # there takes memory, or kills where there is none; so element 0 is not looked up.
        if n == 0:
            return 0
        return int(self._index[n]) if n <= self.growth.published else self.format.offset(n)

    def bytes_between(self, offset: int, end: int) -> memoryview:
        """Return the bytes of the array from `offset` up to `end`, all published."""
        return self._arena.bytes_between(self._position + offset, self._position + end)

    def use(self, stop: int) -> None:
        """Note that an answer wants elements below `stop`, at least one."""
        if self._block_stops:
            number = min(bisect_left(self._block_stops, stop), len(self._block_stops) - 1)
            self._last_uses[number] = self._clock()

    @property
    def last_use_of_tail(self) -> float:
        """When an answer last wanted the tail; the array must not be empty."""
        return self._last_uses[-1]

    def add_reader(self, reader: ArrayReader) -> None:
        """Keep for a reader what it reads, and tell it of progress and failure."""
        self._readers[reader] = None

    def discard_reader(self, reader: ArrayReader) -> None:
        """Forget a reader, if it is one."""
        self._readers.pop(reader, None)

    @property
    def can_shrink(self) -> bool:
        """Whether the tail can be given back now."""
        tail = self.growth.tail
        return (
            tail is not None
            and self.growth.has_none_in_flight
            and tail.start not in self.pinned
            and all(reader.array_stop <= tail.start for reader in self._readers)
        )

    def shrink(self) -> Block:
        """Give the tail's memory back, and return what it was."""
        tail = self.growth.tail
        assert tail is not None, "an empty array cannot shrink"
        self.growth.shrink()
        self._block_stops.pop()
        # Whoever wanted the tail wanted what is before it as well.
        last_use = self._last_uses.pop()
        if self._last_uses:
            self._last_uses[-1] = max(self._last_uses[-1], last_use)
        self._arena.publish(self.format, self.growth.published)
        self._arena.drop_block(tail)
        return tail

    def extend(self) -> Block:
        """Hand out the block behind the frontier."""
        block = self.growth.extend()
        self._block_stops.append(block.stop)
        self._last_uses.append(self._clock())
        return block

    def block_finished(self, block: Block) -> None:
        """Publish what a filled block allows to publish, and tell those who wait."""
        if self.growth.finish(block):
            self._arena.publish(self.format, self.growth.published)
            for reader in list(self._readers):
                reader.on_progress()

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Tell those who need a block that it cannot be had; a later request tries again."""
        self.growth.give_back(block)
        for reader in list(self._readers):
            if reader.array_stop > block.start:
                reader.on_failure(block, message, code)

    def close(self) -> None:
        """Release the views of shared memory."""
        self._index.release()


class SharedArrays:
    """The arrays of all formats, which share one limit of memory.

    Attributes:
        saved: the blocks, as format and start, that can be loaded instead of computed.
    """

    def __init__(
        self,
        arena: Arena,
        memory_limit: int,
        clock: Callable[[], float],
        on_dropped: Callable[[Block], None],
    ) -> None:
        """Make arrays without elements.

        Args:
            arena: where they lie.
            memory_limit: how many bytes of elements they may take together.
            clock: returns the time.
            on_dropped: is told of each block that an array gave back.
        """
        self.saved: set[tuple[Format, int]] = set()
        self._on_dropped = on_dropped
        self._arrays = {
            format: SharedArray(arena, format, clock) for format in arena.layout.arrays
        }
        self._memory_limit = memory_limit

    def __getitem__(self, format: Format) -> SharedArray:
        return self._arrays[format]

    def __iter__(self) -> Iterator[SharedArray]:
        return iter(self._arrays.values())

    @property
    def claimed_bytes(self) -> int:
        """How many bytes of elements there are, or will be when all blocks are filled."""
        return sum(array.growth.frontier_bytes for array in self)

    def next_task(
        self, array: SharedArray, stop: int, *, may_displace: bool = True
    ) -> Task | None:
        """Hand out the next block of an array for elements below `stop`.

        Args:
            array: one of these.
            stop: the element after the last that is needed.
            may_displace: whether other arrays have to give way.

        Returns:
            What to do to have the block, or None: all are handed out, or there is no memory.
        """
        block = array.growth.reclaim_block(stop)
        if block is None:
            if array.growth.frontier >= stop:
                return None
            size = array.growth.next_size()
            if size is None or not self._make_room(array, size, may_displace):
                return None
            block = array.extend()
        is_saved = (block.format, block.start) in self.saved
        return Task(Action.LOAD if is_saved else Action.FILL, block)

    def _make_room(self, array: SharedArray, size: int, may_displace: bool) -> bool:
        excess = self.claimed_bytes + size - self._memory_limit
        while excess > 0:
            others = [each for each in self if each is not array and each.can_shrink]
            if not others or not may_displace:
                return False
            coldest = min(others, key=lambda each: each.last_use_of_tail)
            dropped = coldest.shrink()
            excess -= dropped.size
            self._on_dropped(dropped)
        return True

    def block_finished(self, block: Block) -> None:
        """Publish a filled block."""
        self._arrays[block.format].block_finished(block)

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Fail the answers that need a block."""
        self._arrays[block.format].block_failed(block, message, code)

    def close(self) -> None:
        """Release the views of shared memory."""
        for array in self:
            array.close()
