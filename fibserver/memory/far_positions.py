"""Positions in the arena for far blocks that have no block at present.

Each has room for the largest block. A position whose block was evicted keeps its pages for the
next block, which saves the kernel clearing new ones; how many do is for the caller to bound.
"""

from fibserver.memory.arena import Arena

__all__ = ["FarPositions"]


class FarPositions:
    """The positions without a block."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._with_pages: dict[int, int] = {}  # and the size of these pages
        self._empty = list(reversed(arena.layout.far_positions))

    def __bool__(self) -> bool:
        return bool(self._with_pages or self._empty)

    def take(self) -> tuple[int, int]:
        """Return a position and the size of its pages, if possible one that has any."""
        return self._with_pages.popitem() if self._with_pages else (self._empty.pop(), 0)

    def give_back(self, position: int, allocated_bytes: int) -> None:
        """Take back a position with its pages."""
        self._with_pages[position] = allocated_bytes

    def free_pages(self, kept: int) -> None:
        """Free the pages of all positions but the last `kept` ones that were given back."""
        while len(self._with_pages) > kept:
            position = next(iter(self._with_pages))
            self._arena.free(position, self._with_pages.pop(position))
            self._empty.append(position)
