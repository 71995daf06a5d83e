"""Blocks and tasks, the units of work of a worker.

A block is a run of elements with a position in the arena. This module also divides replies into
short-lived blocks; `fibserver.memory.block_sequence` divides arrays into resident ones.
"""

from enum import IntEnum
from typing import NamedTuple

from fibcommon.costs import EXPENSIVE_SECONDS, first_element_seconds
from fibcommon.formats import Format

__all__ = ["BLOCK_BYTES", "Action", "Block", "Task", "stop_of_block"]

BLOCK_BYTES = 4 * 1024 * 1024
"""Maximum size of a block of several elements: cheap to dispatch and quick to fill."""


class Block(NamedTuple):
    """A run of elements and the position in the arena where a worker writes them.

    Attributes:
        format: How the elements are encoded.
        start: The first element.
        stop: The element after the last.
        position: Position of the elements' bytes in the arena.
        size: Number of bytes.
        index_position: Position of the index entries of elements start+1 to stop; 0 for a
            short-lived block, which has no index.
    """

    format: Format
    start: int
    stop: int
    position: int
    size: int
    index_position: int = 0

    @property
    def is_resident(self) -> bool:
        """Whether the block is part of an array."""
        return self.index_position > 0

    @property
    def cost_seconds(self) -> float:
        """Predicted time in which a worker computes the first element.

        The other elements take some 12 ms at most, since a block of several elements is not larger
        than `BLOCK_BYTES`.
        """
        return first_element_seconds(self.format, self.start)

    @property
    def is_expensive(self) -> bool:
        """Whether the block is expensive: its first element takes more than `EXPENSIVE_SECONDS`.

        Expensive blocks must not occupy all workers.
        """
        return self.cost_seconds > EXPENSIVE_SECONDS


class Action(IntEnum):
    """What a worker does with a block."""

    FILL = 0
    """Compute it."""
    LOAD = 1
    """Load it from the snapshot; compute it if its file is damaged."""
    SAVE = 2
    """Save it to the snapshot."""
    DISCARD = 3
    """Remove its file from the snapshot."""
    PROBE = 4
    """Nothing: the outcome shows that the worker is responsive."""


class Task(NamedTuple):
    """An action on a block, carried out by a worker."""

    action: Action
    block: Block


def stop_of_block(format: Format, start: int, stop: int) -> int:
    """Return the end of the short-lived block that begins at `start`.

    Blocks end at multiples of the largest power of two with which they fit `BLOCK_BYTES`. So
    overlapping slices are divided at the same elements and share the blocks they have in common.

    Args:
        format: How the elements are encoded.
        start: The first element of the block, >= 0.
        stop: The element after the last of the slice, > `start`; the block never ends after it.
    """
    # Element sizes do not decrease with n, apart from the first few elements, so a run is at
    # most its length times the size of its last element.
    step = 1 << max(0, (BLOCK_BYTES // format.size(start)).bit_length() - 1)
    while step > 1 and step * format.size((start // step + 1) * step) > BLOCK_BYTES:
        step >>= 1
    return min(stop, (start // step + 1) * step)
