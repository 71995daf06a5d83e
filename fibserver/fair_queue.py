"""A fair queue: who gets the next free worker.

Each *source* is an answer that still lacks blocks. Sources take turns, a block a turn, so a
huge answer delays a small one by no more than a block each. A block whose worker died goes
ahead of all turns: somebody has waited for it longest.
"""

from collections import deque
from typing import Protocol

from fibserver.growth import Block

__all__ = ["BlockSource", "FairQueue"]


class BlockSource(Protocol):
    """Something that still needs blocks filled."""

    def next_block(self) -> Block | None:
        """Return the next block to fill, or None if there is none left to hand out."""


class FairQueue:
    """Blocks to fill, taken round-robin from their sources."""

    def __init__(self) -> None:
        self._put_back: deque[Block] = deque()
        self._sources: dict[BlockSource, None] = {}  # in the order of their turns

    def add(self, source: BlockSource) -> None:
        """Give a source a turn, after those that already wait."""
        self._sources[source] = None

    def discard(self, source: BlockSource) -> None:
        """Forget a source, if it still waits."""
        self._sources.pop(source, None)

    def put_back(self, block: Block) -> None:
        """Take back a block whose worker died, to be the next handed out."""
        self._put_back.append(block)

    def take(self) -> Block | None:
        """Return the next block to fill, or None if nothing waits."""
        if self._put_back:
            return self._put_back.popleft()
        while self._sources:
            source = next(iter(self._sources))
            del self._sources[source]
            block = source.next_block()
            if block is not None:
                self._sources[source] = None
                return block
        return None
