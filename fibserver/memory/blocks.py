"""Blocks and tasks: what is given to a worker, and how large it is.

A block is a run of elements and a place in the arena. This module also cuts answers into
short-lived blocks; the resident ones are cut by `fibserver.memory.growth`.
"""

from enum import IntEnum
from typing import NamedTuple

from fibcommon.costs import DEAR_SECONDS, first_element_seconds
from fibcommon.formats import Format

__all__ = ["BLOCK_BYTES", "Action", "Block", "Task", "stop_of_block"]

BLOCK_BYTES = 4 * 1024 * 1024
"""The size of a block: long enough to make handing it out cheap, short enough to wait for."""


class Block(NamedTuple):
    """A run of elements for one worker to fill: a pure task with a destination.

    Attributes:
        format: how the elements are encoded.
        start: the first element.
        stop: the element after the last.
        position: where in the arena its bytes go.
        size: how many bytes they are.
        index_position: where in the arena the index entries of elements start+1 to stop go; 0
            for a short-lived block, which has none.
    """

    format: Format
    start: int
    stop: int
    position: int
    size: int
    index_position: int = 0

    @property
    def is_resident(self) -> bool:
        """Whether it is part of an array, and stays."""
        return self.index_position > 0

    @property
    def cost_seconds(self) -> float:
        """Predicted time of a worker for its first element.

        The rest takes some 12 ms at most, since a block of several elements is not larger than
        BLOCK_BYTES.
        """
        return first_element_seconds(self.format, self.start)

    @property
    def is_dear(self) -> bool:
        """Whether it takes far longer than its size suggests, up to seconds.

        Such blocks must not hold all workers.
        """
        return self.cost_seconds > DEAR_SECONDS


class Action(IntEnum):
    """What a worker is to do with a block."""

    FILL = 0
    """Compute it."""
    LOAD = 1
    """Take it from the snapshot, or compute it if it is damaged there."""
    SAVE = 2
    """Write it to the snapshot."""
    DISCARD = 3
    """Remove it from the snapshot."""
    PROBE = 4
    """Nothing: an answer shows that the worker is well."""


class Task(NamedTuple):
    """One thing for a worker to do."""

    action: Action
    block: Block


def stop_of_block(format: Format, start: int, stop: int) -> int:
    """Return where the short-lived block ends that starts an answer's elements start to stop-1.

    Blocks end at multiples of a power of two, the largest with which they fit BLOCK_BYTES. So
    answers that overlap are cut at the same elements, and can share what lies between.

    Args:
        start: >= 0.
        stop: > start.
    """
    # Sizes never shrink with n, but for the first few elements, so a run is no longer than
    # its count times the size of its last element.
    step = 1 << max(0, (BLOCK_BYTES // format.size(start)).bit_length() - 1)
    while step > 1 and step * format.size((start // step + 1) * step) > BLOCK_BYTES:
        step >>= 1
    return min(stop, (start // step + 1) * step)
