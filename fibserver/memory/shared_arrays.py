"""Arrays of published elements: readers, growth and eviction.

The arrays share one memory limit. When an array has to grow beyond it, the array whose tail was
used longest ago evicts that tail, block by block. Blocks that a reader still needs, or that a
worker is filling or saving, are never evicted. If nothing can be evicted, the array does not
grow, and the reply that needs more elements continues with short-lived blocks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Protocol

from fibcommon.formats import Format
from fibserver.memory.arena import Arena
from fibserver.memory.block_sequence import BlockSequence
from fibserver.memory.blocks import Action, Block, Task

__all__ = ["ArrayReader", "SharedArray", "SharedArrays"]


class ArrayReader(Protocol):
    """A reader of an array, which may wait for elements to be published."""

    array_stop: int
    """The element after the last that it reads from the array."""

    def on_progress(self) -> None:
        """Handle the publication of more elements."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Handle the failure of a block; `message` and `code` are for an error reply."""


class SharedArray:
    """The array of one format: its published elements, readers and growth.

    Attributes:
        format: How the elements are encoded.
        growth: The array's blocks and their state.
        streamed_bytes: Number of bytes of this format sent from short-lived blocks.
        pinned: Starts of blocks that must not be evicted because a worker saves them.
    """

    def __init__(self, arena: Arena, format: Format, clock: Callable[[], float]) -> None:
        """Start with an empty array.

        Args:
            arena: Shared memory with room for the array.
            format: How the elements are encoded.
            clock: Returns the current time in seconds.
        """
        self.format = format
        self.growth = BlockSequence(arena.layout.arrays[format])
        self.streamed_bytes = 0
        self.pinned: set[int] = set()
        self._arena = arena
        self._clock = clock
        self._position = arena.layout.arrays[format].data_position
        self._index = arena.index(format)
        self._readers: dict[ArrayReader, None] = {}
        # For each block: its stop, and when it was last used.
        self._block_stops: list[int] = []
        self._last_uses: list[float] = []

    def slice_size(self, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`, from the index if published."""
        if start < stop <= self.growth.published:
            return self.offset(stop) - self.offset(start) - self.format.separator_size
        return self.format.slice_size(start, stop)

    def offset(self, n: int) -> int:
        """Return `format.offset(n)`, from the index if published."""
        # Before the first block is filled the index has no page: reading it would allocate one,
        # or raise SIGBUS if /dev/shm is full.
        if n == 0:
            return 0
        return int(self._index[n]) if n <= self.growth.published else self.format.offset(n)

    def bytes_between(self, offset: int, end: int) -> memoryview:
        """Return the array's bytes from `offset` up to `end`; all must be published."""
        return self._arena.bytes_between(self._position + offset, self._position + end)

    def touch(self, stop: int) -> None:
        """Record a use of the block that holds element `stop - 1`, or of the tail if none does."""
        if self._block_stops:
            number = min(bisect_left(self._block_stops, stop), len(self._block_stops) - 1)
            self._last_uses[number] = self._clock()

    @property
    def last_use_of_tail(self) -> float:
        """When the tail was last used; the array must not be empty."""
        return self._last_uses[-1]

    def add_reader(self, reader: ArrayReader) -> None:
        """Add a reader: keep the elements it reads, and notify it of progress and failure."""
        self._readers[reader] = None

    def discard_reader(self, reader: ArrayReader) -> None:
        """Remove a reader, if present."""
        self._readers.pop(reader, None)

    @property
    def can_evict_tail(self) -> bool:
        """Whether the tail exists and can be evicted now."""
        tail = self.growth.tail
        return (
            tail is not None
            and self.growth.has_none_in_flight
            and tail.start not in self.pinned
            and all(reader.array_stop <= tail.start for reader in self._readers)
        )

    def evict_tail(self) -> Block:
        """Evict the tail and return it."""
        tail = self.growth.tail
        assert tail is not None, "an empty array cannot shrink"
        self.growth.remove_tail()
        self._block_stops.pop()
        # A use of the tail is also a use of the block before it.
        last_use = self._last_uses.pop()
        if self._last_uses:
            self._last_uses[-1] = max(self._last_uses[-1], last_use)
        self._arena.publish(self.format, self.growth.published)
        self._arena.free_block(tail)
        return tail

    def extend(self) -> Block:
        """Hand out the block at the frontier."""
        block = self.growth.extend()
        self._block_stops.append(block.stop)
        self._last_uses.append(self._clock())
        return block

    def block_finished(self, block: Block) -> None:
        """Mark a block as filled; notify the readers if that published elements."""
        if self.growth.finish(block):
            self._arena.publish(self.format, self.growth.published)
            for reader in list(self._readers):
                reader.on_progress()

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Notify the readers that need a failed block; a later request retries it."""
        self.growth.return_block(block)
        for reader in list(self._readers):
            if reader.array_stop > block.start:
                reader.on_failure(block, message, code)

    def close(self) -> None:
        """Release the view of the index."""
        self._index.release()


class SharedArrays:
    """The arrays of all formats, which share one memory limit.

    Attributes:
        saved: Format and start of each block that the snapshot holds.
    """

    def __init__(
        self,
        arena: Arena,
        memory_limit: int,
        clock: Callable[[], float],
        on_evicted: Callable[[Block], None],
    ) -> None:
        """Create empty arrays.

        Args:
            arena: Contains the arrays.
            memory_limit: Maximum number of bytes of elements in all arrays together.
            clock: Returns the current time in seconds.
            on_evicted: Called with each evicted block.
        """
        self.saved: set[tuple[Format, int]] = set()
        self._on_evicted = on_evicted
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
        """Size of all blocks of all arrays, filled or in flight."""
        return sum(array.growth.frontier_bytes for array in self)

    def next_task(self, array: SharedArray, stop: int, *, may_evict: bool = True) -> Task | None:
        """Hand out the next block that an array needs for the elements below `stop`.

        Args:
            array: One of these arrays.
            stop: The element after the last that is needed.
            may_evict: Whether blocks of other arrays may be evicted.

        Returns:
            A task that loads or fills the block, or None if all blocks are handed out already or
            there is no memory for another.
        """
        block = array.growth.reclaim_block(stop)
        if block is None:
            if array.growth.frontier >= stop:
                return None
            size = array.growth.next_size()
            if size is None or not self._make_room(array, size, may_evict):
                return None
            block = array.extend()
        is_saved = (block.format, block.start) in self.saved
        return Task(Action.LOAD if is_saved else Action.FILL, block)

    def _make_room(self, array: SharedArray, size: int, may_evict: bool) -> bool:
        excess = self.claimed_bytes + size - self._memory_limit
        while excess > 0:
            others = [other for other in self if other is not array and other.can_evict_tail]
            if not others or not may_evict:
                return False
            coldest = min(others, key=lambda other: other.last_use_of_tail)
            dropped = coldest.evict_tail()
            excess -= dropped.size
            self._on_evicted(dropped)
        return True

    def block_finished(self, block: Block) -> None:
        """Mark a block as filled and publish it if possible."""
        self._arrays[block.format].block_finished(block)

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Notify the readers that need a failed block."""
        self._arrays[block.format].block_failed(block, message, code)

    def close(self) -> None:
        """Release all views of shared memory."""
        for array in self:
            array.close()
