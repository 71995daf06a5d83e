"""Far block: a block outside the arrays, with the replies that use it."""

from typing import Protocol, TypeAlias

from fibcommon.formats import Format
from fibserver.memory.blocks import Block

__all__ = ["Claimant", "FarBlock", "Key", "key_of"]

Key: TypeAlias = tuple[Format, int, int]
"""Format, first element and element after the last of a block."""


def key_of(block: Block) -> Key:
    """Return the key of a block."""
    return block.format, block.start, block.stop


class Claimant(Protocol):
    """A user of far blocks."""

    def on_progress(self) -> None:
        """Continue; called when a claimed block is filled."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Handle the failure of a claimed block; `message` and `code` are for an error reply."""

    def on_claim_lost(self, block: "FarBlock") -> None:
        """Handle the loss of a claim."""

    def on_free_slot(self) -> None:
        """Retry a claim; called when a slot may be free."""


class FarBlock:
    """A far block.

    Attributes:
        block: The elements and their position.
        offset: Offset of the block's first byte among all elements of the format.
        end: Offset of its end.
        allocated_bytes: Size of the pages at its position.
        claimants: The replies that will send the block.
        is_filled: Whether the block's bytes are there.
        filled_at: When the block was filled.
        last_use: When the block was filled or last sent from, whichever is later.
        is_kept: Whether it is worth keeping without a claim.
        was_reused: Whether it was claimed again after it was kept.
        pins: Number of reasons why it must not be evicted, such as a worker that saves it.
    """

    __slots__ = (
        "allocated_bytes",
        "block",
        "claimants",
        "end",
        "filled_at",
        "is_filled",
        "is_kept",
        "last_use",
        "offset",
        "pins",
        "was_reused",
    )

    def __init__(self, block: Block, offset: int, allocated_bytes: int) -> None:
        self.block = block
        self.offset = offset
        self.end = offset + block.size
        self.allocated_bytes = allocated_bytes
        self.claimants: dict[Claimant, None] = {}
        self.is_filled = False
        self.filled_at = 0.0
        self.last_use = 0.0
        self.is_kept = False
        self.was_reused = False
        self.pins = 0
