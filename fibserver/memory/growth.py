"""Growth of one array: which blocks it is made of, and how far it is published.

An array grows as a prefix of the sequence, in blocks. Blocks are handed out in order but
finished in any order; an element is *published* when every block up to its own is finished.
When memory is short the array shrinks again, from its end. The boundaries of the blocks
depend on the format alone, so two requests that miss the same elements miss the same block,
and a block saved by another process is one of ours.

This is bookkeeping without memory, processes or clocks: the acceptor asks it what to hand out
and tells it what came back.
"""

from bisect import bisect_left, insort

from fibserver.memory.blocks import BLOCK_BYTES, Block
from fibserver.memory.layout import INDEX_ENTRY_BYTES, ArrayLayout

__all__ = ["FIRST_BLOCK_BYTES", "Growth"]

FIRST_BLOCK_BYTES = 64 * 1024
"""The size of an array's first block; each further one doubles, up to BLOCK_BYTES, so that
the first small requests to a cold server need not wait for 4 MiB."""


class Growth:
    """The blocks of one array and their state.

    Attributes:
        layout: where the array lies, and how large it may become.
        published: how many elements are published.
        published_bytes: how many bytes they are.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self.layout = layout
        self.published = 0
        self.published_bytes = 0
        # Blocks are planned when they are first needed, one ahead of the frontier at most.
        self._boundaries = [0]  # elements: block k is boundaries[k] to boundaries[k + 1]
        self._offsets = [0]  # the same in bytes
        self._frontier = 0  # blocks below were handed out, save those given back
        self._given_back: list[int] = []
        self._finished: set[int] = set()  # and not yet published
        self._published_blocks = 0

    @property
    def frontier(self) -> int:
        """How many elements the array has once all blocks handed out so far are filled."""
        return self._boundaries[self._frontier]

    @property
    def frontier_bytes(self) -> int:
        """How many bytes they are: what the array takes of the memory."""
        return self._offsets[self._frontier]

    @property
    def has_none_in_flight(self) -> bool:
        """Whether no worker has a block of it."""
        done = self._published_blocks + len(self._finished) + len(self._given_back)
        return done == self._frontier

    def next_size(self) -> int | None:
        """Return the size of the block behind the frontier, None if there is no room for it."""
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
        """Hand out again the first block given back, if it holds an element below `stop`."""
        if self._given_back and self._boundaries[self._given_back[0]] < stop:
            return self._block(self._given_back.pop(0))
        return None

    def extend(self) -> Block:
        """Hand out the block behind the frontier; `next_size` must have said there is room."""
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

    def give_back(self, block: Block) -> None:
        """Take back a block that could not be filled, for a later request to try again."""
        insort(self._given_back, self._number(block))

    def finish(self, block: Block) -> bool:
        """Note that a block is filled; return whether that published any element."""
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
        """The last block handed out, if there is one."""
        return self._block(self._frontier - 1) if self._frontier else None

    def shrink(self) -> None:
        """Forget the tail; the array must be settled and not empty."""
        assert self.has_none_in_flight, "a worker may yet write to the tail"
        self._frontier -= 1
        self._finished.discard(self._frontier)
        if self._given_back and self._given_back[-1] == self._frontier:
            self._given_back.pop()
        self._published_blocks = min(self._published_blocks, self._frontier)
        self._update_published()
