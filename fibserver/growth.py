"""Growth of one array: which blocks it is made of, and how far it is published.

An array grows as a prefix of the sequence, in blocks. Blocks are handed out in order but
finished in any order; an element is *published* when every block up to its own is finished.
The boundaries of the blocks depend on the format and the capacity alone, so two requests
that miss the same elements miss the same block.

This is bookkeeping without memory, processes or clocks: the acceptor asks it what to hand out
and tells it what came back.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

from fibclient.formats import Format
from fibserver.layout import INDEX_ENTRY_BYTES, ArrayLayout

__all__ = ["BLOCK_BYTES", "Block", "Growth"]

BLOCK_BYTES = 4 * 1024 * 1024
"""The size of a block: long enough to make handing it out cheap, short enough to wait for."""

FIRST_BLOCK_BYTES = 64 * 1024
"""The size of an array's first block; each further one doubles, up to BLOCK_BYTES, so that
the first small requests to a cold server need not wait for 4 MiB."""


class Block(NamedTuple):
    """A run of elements for one worker to fill: a pure task with a destination.

    Attributes:
        format: how the elements are encoded.
        number: which block of its array it is, from 0.
        start: the first element.
        stop: the element after the last.
        position: where in the arena its bytes go.
        size: how many bytes they are.
        index_position: where in the arena the index entries of elements start+1 to stop go.
    """

    format: Format
    number: int
    start: int
    stop: int
    position: int
    size: int
    index_position: int


class Growth:
    """The blocks of one array and their state.

    Attributes:
        published: how many elements are published.
        published_bytes: how many bytes they are.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self.layout = layout
        self.published = 0
        self.published_bytes = 0
        self._boundaries = [0]  # elements: block k is boundaries[k] to boundaries[k + 1]
        self._offsets = [0]  # the same in bytes
        self._frontier = 0  # blocks below were handed out, save those given back
        self._given_back: list[int] = []
        self._finished: set[int] = set()
        self._published_blocks = 0

    @property
    def handed_out_bytes(self) -> int:
        """How many bytes the array takes once all blocks handed out so far are filled."""
        return self._offsets[self._frontier]

    def size_to_reach(self, stop: int) -> int:
        """Return how many bytes the array takes once element stop-1 is published.

        Args:
            stop: at most the layout's capacity in elements.
        """
        return self.end_of(self.block_reaching(stop))

    def end_of(self, number: int) -> int:
        """Return how many bytes a block and all before it take; block -1 is before the first."""
        return self._offsets[number + 1]

    def block_reaching(self, stop: int) -> int:
        """Return the number of the block that holds element stop-1, -1 for stop = 0.

        Args:
            stop: at most the layout's capacity in elements.
        """
        while self._boundaries[-1] < stop:
            self._plan_block()
        return bisect_left(self._boundaries, stop) - 1

    def _plan_block(self) -> None:
        number, start, offset = len(self._boundaries) - 1, self._boundaries[-1], self._offsets[-1]
        size = min(FIRST_BLOCK_BYTES << min(number, 32), BLOCK_BYTES)
        format = self.layout.format
        stop = max(format.stop_within(start, size), start + 1)
        stop = min(stop, self.layout.capacity_elements)
        self._boundaries.append(stop)
        self._offsets.append(offset + format.offset(stop) - format.offset(start))

    def next_block(self, last: int) -> Block | None:
        """Hand out the next block up to number `last`, or None if all are handed out."""
        if self._given_back and self._given_back[0] <= last:
            return self._block(self._given_back.pop(0))
        if self._frontier > last:
            return None
        self._frontier += 1
        return self._block(self._frontier - 1)

    def _block(self, number: int) -> Block:
        start, stop = self._boundaries[number : number + 2]
        offset, end = self._offsets[number : number + 2]
        layout = self.layout
        return Block(
            layout.format,
            number,
            start,
            stop,
            layout.data_position + offset,
            end - offset,
            layout.index_position + (start + 1) * INDEX_ENTRY_BYTES,
        )

    def give_back(self, block: Block) -> None:
        """Take back a block that could not be filled, for a later request to try again."""
        insort(self._given_back, block.number)

    def finish(self, block: Block) -> bool:
        """Note that a block is filled; return whether that published any element."""
        self._finished.add(block.number)
        before = self._published_blocks
        while self._published_blocks in self._finished:
            self._finished.remove(self._published_blocks)
            self._published_blocks += 1
        self.published = self._boundaries[self._published_blocks]
        self.published_bytes = self._offsets[self._published_blocks]
        return self._published_blocks > before
