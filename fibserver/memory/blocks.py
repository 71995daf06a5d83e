"""Blocks and tasks, the units of work of a worker.

A block is a run of elements with a position in the arena. This module also divides replies into
far blocks; `fibserver.memory.block_sequence` divides arrays into resident ones.
"""

from enum import IntEnum
from typing import NamedTuple

from fibcommon.costs import EXPENSIVE_SECONDS, first_element_seconds, slice_seconds
from fibcommon.formats import FORMATS, Format

__all__ = ["BLOCK_BYTES", "NO_BLOCK", "Action", "Block", "Task", "stop_of_block"]

BLOCK_BYTES = 4 * 1024 * 1024
"""Maximum size of a block of several elements: cheap to dispatch and quick to fill."""

READ_SECONDS = 0.005
READ_BYTES_PER_SECOND = 200e6
"""Time to open a file and to read from it: those of a slow disk, as a fast one gains little."""


class Block(NamedTuple):
    """A run of elements and the position in the arena where a worker writes them.

    Attributes:
        format: How the elements are encoded.
        start: The first element.
        stop: The element after the last.
        position: Position of the elements' bytes in the arena.
        size: Number of bytes.
        index_position: Position of the index entries of elements start+1 to stop; 0 for a far
            block, which has no index.
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
    def is_worth_reading(self) -> bool:
        """Whether reading the block from a disk is predicted to be cheaper than computing it."""
        compute = slice_seconds(self.format, self.start, self.size)
        return not self.is_resident and compute > READ_SECONDS + self.size / READ_BYTES_PER_SECOND


NO_BLOCK = Block(FORMATS["text"], 0, 1, 0, 0)
"""Stands for the block of a task that needs none."""


class Action(IntEnum):
    """What a worker does."""

    FILL = 0
    """Load a block from the snapshot, or else compute it."""
    SAVE = 1
    """Save a block to the snapshot."""
    TRIM = 2
    """Remove files of the snapshot until it is within its limit."""
    CALCULATE = 3
    """Evaluate an expression."""
    PROBE = 4
    """Nothing: the outcome shows that the worker is responsive."""


class Task(NamedTuple):
    """An action, carried out by a worker.

    Attributes:
        action: The action.
        block: The block, or `NO_BLOCK`.
        checksum: The checksum that a block to save must have, else 0.
        expression: The expression to evaluate, if any.
        expression_seconds: Predicted time to evaluate it.
    """

    action: Action
    block: Block = NO_BLOCK
    checksum: int = 0
    expression: bytes = b""
    expression_seconds: float = 0.0

    @property
    def cost_seconds(self) -> float:
        """Predicted time for what a client waits for: a block's first element, or a value."""
        match self.action:
            case Action.FILL:
                return self.block.cost_seconds
            case Action.CALCULATE:
                return self.expression_seconds
        return 0.0

    @property
    def is_expensive(self) -> bool:
        """Whether the task is expensive: it costs more than `EXPENSIVE_SECONDS`.

        Expensive tasks must not occupy all workers.
        """
        return self.cost_seconds > EXPENSIVE_SECONDS


def stop_of_block(format: Format, start: int, stop: int) -> int:
    """Return the end of the far block that begins at `start`.

    Blocks end at multiples of a power of two, the largest with which they have `BLOCK_BYTES` at
    most. So overlapping slices are divided at the same elements, and share blocks.

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
