"""Arrays of published elements: readers, growth and eviction.

The arrays share a memory limit with the far blocks that are kept. An array evicts its tail, block
by block, but never what a reader still needs or a worker is filling. If an array has to grow and
nothing else can be evicted, it does not grow, and the reply that needs more elements continues
with far blocks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Protocol

from fibcommon.formats import Format
from fibserver.memory.arena import Arena
from fibserver.memory.block_sequence import BlockSequence
from fibserver.memory.blocks import Block
from fibserver.memory.memory_limit import MemoryLimit

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
        streamed_bytes: Number of bytes of this format sent from far blocks.
    """

    def __init__(
        self, arena: Arena, format: Format, memory: MemoryLimit, clock: Callable[[], float]
    ) -> None:
        """Start with an empty array.

        Args:
            arena: Shared memory with room for the array.
            format: How the elements are encoded.
            memory: The limit on the array's memory.
            clock: Returns the current time in seconds.
        """
        self.format = format
        self.growth = BlockSequence(arena.layout.arrays[format])
        self.streamed_bytes = 0
        self._arena = arena
        self._memory = memory
        memory.users.append(self)
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

    def add_reader(self, reader: ArrayReader) -> None:
        """Add a reader: keep the elements it reads, and notify it of progress and failure."""
        self._readers[reader] = None

    def discard_reader(self, reader: ArrayReader) -> None:
        """Remove a reader, if present."""
        self._readers.pop(reader, None)

    @property
    def used_bytes(self) -> int:
        """Size of all blocks in bytes, filled or in flight."""
        return self.growth.frontier_bytes

    @property
    def oldest_use(self) -> float | None:
        """When the tail was last used; None if it cannot be evicted now."""
        tail = self.growth.tail
        can_evict = (
            tail is not None
            and self.growth.has_none_in_flight
            and all(reader.array_stop <= tail.start for reader in self._readers)
        )
        return self._last_uses[-1] if can_evict else None

    def evict_oldest(self) -> None:
        """Evict the tail."""
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
        self._memory.evictions += 1

    def next_block(self, stop: int) -> Block | None:
        """Hand out the next block that is needed for the elements below `stop`.

        Returns:
            The block, or None if all are handed out already or there is no memory for another.
        """
        block = self.growth.reclaim_block(stop)
        if block is not None or self.growth.frontier >= stop:
            return block
        size = self.growth.next_size()
        if size is None or not self._memory.make_room(size, exempt=self):
            return None
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
        """Release the view of shared memory that holds the offsets of the elements."""
        self._index.release()


class SharedArrays:
    """The arrays of all formats."""

    def __init__(self, arena: Arena, memory: MemoryLimit, clock: Callable[[], float]) -> None:
        """Create empty arrays.

        Args:
            arena: Contains the arrays.
            memory: The limit on their memory.
            clock: Returns the current time in seconds.
        """
        self._arrays = {
            format: SharedArray(arena, format, memory, clock) for format in arena.layout.arrays
        }

    def __getitem__(self, format: Format) -> SharedArray:
        return self._arrays[format]

    def __iter__(self) -> Iterator[SharedArray]:
        return iter(self._arrays.values())

    def close(self) -> None:
        """Release all views of shared memory."""
        for array in self:
            array.close()
