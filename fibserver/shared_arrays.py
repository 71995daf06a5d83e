"""The arrays as the acceptor uses them: what is published, and who waits for more."""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from fibclient.formats import Format
from fibserver.arena import Arena
from fibserver.growth import Block, Growth
from fibserver.replies import CommandError

__all__ = ["ArrayWaiter", "SharedArray", "SharedArrays"]


class ArrayWaiter(Protocol):
    """Something that waits for elements to be published."""

    last_block: int
    """The number of the last block it needs."""

    def on_progress(self) -> None:
        """Take note that more elements are published."""

    def on_failure(self, message: str, code: str) -> None:
        """Take note that a needed block cannot be had, and why, as for an error reply."""


class SharedArray:
    """The published elements of one format, and the growth of the array.

    Attributes:
        format: how the elements are encoded.
        growth: which blocks there are, and their state.
    """

    def __init__(self, arena: Arena, format: Format) -> None:
        self.format = format
        self.growth = Growth(arena.layout.arrays[format])
        self._arena = arena
        self._data = arena.data(format)
        self._index = arena.index(format)
        self._waiters: dict[ArrayWaiter, None] = {}
        self._needed: Counter[int] = Counter()  # by the waiters, as their last blocks

    @property
    def claimed_bytes(self) -> int:
        """How many bytes the array will take when those who wait have what they wait for."""
        return max(self.growth.handed_out_bytes, self.growth.end_of(max(self._needed, default=-1)))

    def slice_size(self, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`, from the index if it is published."""
        if start < stop <= self.growth.published:
            return self.offset(stop) - self.offset(start) - self.format.separator_size
        return self.format.slice_size(start, stop)

    def offset(self, n: int) -> int:
        """Return `format.offset(n)`, from the index if it is published."""
        # The index has no page before its first block is filled, and reading one that is not
        # there takes memory, or kills where there is none; so element 0 is not looked up.
        return int(self._index[n]) if 0 < n <= self.growth.published else self.format.offset(n)

    def bytes_between(self, offset: int, end: int) -> memoryview:
        """Return the bytes of the array from `offset` up to `end`, all published."""
        return self._data[offset:end]

    def add_waiter(self, waiter: ArrayWaiter) -> None:
        """Have a waiter told of progress and failure."""
        self._waiters[waiter] = None
        self._needed[waiter.last_block] += 1

    def discard_waiter(self, waiter: ArrayWaiter) -> None:
        """Forget a waiter, if it is one."""
        if waiter in self._waiters:
            del self._waiters[waiter]
            self._needed -= Counter([waiter.last_block])

    def block_finished(self, block: Block) -> None:
        """Publish what a filled block allows to publish, and tell those who wait."""
        if self.growth.finish(block):
            self._arena.publish(self.format, self.growth.published)
            for waiter in list(self._waiters):
                waiter.on_progress()

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Tell those who need a block that it cannot be had; a later request tries again."""
        self.growth.give_back(block)
        for waiter in list(self._waiters):
            if waiter.last_block >= block.number:
                waiter.on_failure(message, code)

    def close(self) -> None:
        """Release the views of shared memory."""
        self._data.release()
        self._index.release()


class SharedArrays:
    """The arrays of all formats, which share one limit of memory."""

    def __init__(self, arena: Arena, memory_limit: int) -> None:
        self._arrays = {format: SharedArray(arena, format) for format in arena.layout.arrays}
        self._memory_limit = memory_limit

    def __getitem__(self, format: Format) -> SharedArray:
        return self._arrays[format]

    def __iter__(self) -> Iterator[SharedArray]:
        return iter(self._arrays.values())

    def check_growth(self, format: Format, stop: int) -> None:
        """Make sure that an array may grow to `stop` elements.

        Raises:
            CommandError: that would exceed `memory_limit`.
        """
        array = self._arrays[format]
        if stop <= array.growth.published:
            return
        if stop > array.growth.layout.capacity_elements:
            needed = format.offset(stop)
        else:
            needed = max(array.claimed_bytes, array.growth.size_to_reach(stop))
        others = sum(other.claimed_bytes for other in self) - array.claimed_bytes
        if needed + others > self._memory_limit:
            raise CommandError(
                f"the first {stop} elements as {format.name} take {needed} bytes of memory, "
                f"other formats {others}, memory_limit is {self._memory_limit}",
                "LIMIT",
            )

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
