"""Block boundaries and publication state of one array.

An array holds a prefix of the sequence and grows in blocks. Blocks are handed out in order but
finished in any order; an element is *published* when its block and all blocks before it are
finished. When memory is short, the array shrinks from its end. Block boundaries depend on the
format alone: two requests that miss the same elements need the same block, and blocks saved by
another server process match.

This module is pure bookkeeping, without memory, processes or clocks.
"""

from bisect import bisect_left, insort

from fibserver.memory.blocks import BLOCK_BYTES, Block
from fibserver.memory.layout import INDEX_ENTRY_BYTES, ArrayLayout

__all__ = ["FIRST_BLOCK_BYTES", "BlockSequence"]

FIRST_BLOCK_BYTES = 64 * 1024
"""Size of an array's first block. Each further block is twice as large, up to `BLOCK_BYTES`, so
that the first small requests to a cold server do not wait for 4 MiB."""


class BlockSequence:
    """The blocks of one array and their state.

    Attributes:
        layout: Position and capacity of the array.
        published: Number of published elements.
        published_bytes: Their size in bytes.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self.layout = layout
        self.published = 0
        self.published_bytes = 0
        # Boundaries are computed on demand, at most one block past the frontier.
        self._boundaries = [0]  # block k holds elements boundaries[k] to boundaries[k + 1] - 1
        self._offsets = [0]  # of the boundaries, in bytes
        self._frontier = 0  # number of blocks handed out, `_returned` included
        self._returned: list[int] = []
        self._finished: set[int] = set()  # but not yet published
        self._published_blocks = 0

    @property
    def frontier(self) -> int:
        """Number of elements in all blocks handed out so far, filled or not."""
        return self._boundaries[self._frontier]

    @property
    def frontier_bytes(self) -> int:
        """Size of all blocks handed out so far: the memory that the array claims."""
        return self._offsets[self._frontier]

    @property
    def has_none_in_flight(self) -> bool:
        """Whether no worker holds a block of the array."""
        done = self._published_blocks + len(self._finished) + len(self._returned)
        return done == self._frontier

    def next_size(self) -> int | None:
        """Return the size of the block at the frontier, or None if the array is full."""
        if self._frontier == len(self._boundaries) - 1:
            self._plan_block()
        end = self._offsets[self._frontier + 1]
        is_within = (
            end <= self.layout.capacity_bytes
            and self._boundaries[self._frontier + 1] <= self.layout.capacity_elements
        )
        return end - self._offsets[self._frontier] if is_within else None

    def _plan_block(self) -> None:
        number, start, offset = len(self._boundaries) - 1, self._boundaries[-1], self._offsets[-1]
        size = min(FIRST_BLOCK_BYTES << min(number, 32), BLOCK_BYTES)
        format = self.layout.format
        stop = max(format.stop_within(start, size), start + 1)
        self._boundaries.append(stop)
        self._offsets.append(offset + format.offset(stop) - format.offset(start))

    def reclaim_block(self, stop: int) -> Block | None:
        """Hand out the lowest block given back again, if it holds an element below `stop`.

        Returns:
            The block, or None.
        """
        if self._returned and self._boundaries[self._returned[0]] < stop:
            return self._block(self._returned.pop(0))
        return None

    def extend(self) -> Block:
        """Hand out the block at the frontier; `next_size` must have returned a size."""
        self._frontier += 1
        return self._block(self._frontier - 1)

    def _block(self, number: int) -> Block:
        start, stop = self._boundaries[number : number + 2]
        offset, end = self._offsets[number : number + 2]
        layout = self.layout
        return Block(
            layout.format,
            start,
            stop,
            layout.data_position + offset,
            end - offset,
            layout.index_position + (start + 1) * INDEX_ENTRY_BYTES,
        )

    def return_block(self, block: Block) -> None:
        """Take back a block that could not be filled; a later request retries it."""
        insort(self._returned, self._number(block))

    def finish(self, block: Block) -> bool:
        """Mark a block as filled; return whether that published any element."""
        self._finished.add(self._number(block))
        before = self._published_blocks
        while self._published_blocks in self._finished:
            self._finished.remove(self._published_blocks)
            self._published_blocks += 1
        self._update_published()
        return self._published_blocks > before

    def _number(self, block: Block) -> int:
        return bisect_left(self._boundaries, block.start)

    def _update_published(self) -> None:
        self.published = self._boundaries[self._published_blocks]
        self.published_bytes = self._offsets[self._published_blocks]

    @property
    def tail(self) -> Block | None:
        """The last block handed out, or None."""
        return self._block(self._frontier - 1) if self._frontier else None

    def remove_tail(self) -> None:
        """Remove the tail; it must exist, and no block may be in flight."""
        assert self.has_none_in_flight, "a worker may still write to the tail"
        self._frontier -= 1
        self._finished.discard(self._frontier)
        if self._returned and self._returned[-1] == self._frontier:
            self._returned.pop()
        self._published_blocks = min(self._published_blocks, self._frontier)
        self._update_published()
