"""Short-lived blocks for elements beyond the arrays, kept in slots until they are sent.

The number of slots is fixed, so memory is bounded whatever clients request. A reply claims the
blocks it is about to send; concurrent replies that need the same block share it. A slot is free
again when all claimants have sent its block.

Clients that read slowly or not at all could occupy all slots. So when a reply waits for a slot,
a filled block is evicted, the least recently sent first, if nothing was sent from it for
`STALLED_SECONDS` or it was filled `HELD_SECONDS` ago. Its claimants claim it again when their
clients resume reading, which costs some milliseconds of computation.

The kernel accepts a small block at once, so small blocks leave their slots as soon as they are
filled. They serve single numbers that are cheap to compute, which must not wait for large
replies: some slots are reserved for them, and a free slot is offered to their claimants first.
"""

from collections.abc import Callable
from typing import Protocol

from fibcommon.formats import Format
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Block

__all__ = ["STALLED_SECONDS", "Claimant", "TransientBlock", "TransientBlocks", "slots_for"]

MAX_CLAIMS = 3
"""Maximum number of blocks that a reply claims: one being sent, one ready, one being filled."""

STALLED_SECONDS = 0.1
"""A block from which nothing was sent for this long may be evicted."""

HELD_SECONDS = 1.0
"""A block that was filled this long ago may be evicted even while it is being sent. The client of
a full block then reads less than 4 MiB/s."""

SMALL_BYTES = 128 * 1024
"""Maximum size of a small block; every number that is cheap to compute fits."""

IDLE_SECONDS = 5.0
"""The slots' memory is freed when no block was claimed for this long."""


def slots_for(workers: int) -> int:
    """Return the number of slots for a number of workers.

    Each worker can fill one block and have a second one queued, while as many are being sent. A
    quarter of the slots is reserved for small blocks.
    """
    return max(8, 4 * workers)


class Claimant(Protocol):
    """A user of short-lived blocks."""

    def on_progress(self) -> None:
        """Continue; called when a claimed block is filled."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Handle the failure of a claimed block; `message` and `code` are for an error reply."""

    def on_evicted(self, block: "TransientBlock") -> None:
        """Handle the eviction of a claimed block."""

    def on_free_slot(self) -> None:
        """Retry a claim; called when a slot may be free."""


class TransientBlock:
    """A block in a slot.

    Attributes:
        block: The elements and their position.
        offset: Offset of the block's first byte among all elements of the format.
        end: Offset of its end.
        slot: Number of the slot.
        claimants: The replies that will send the block.
        is_filled: Whether the slot holds the block's bytes: False before it is filled and after it
            is evicted.
        filled_at: When the block was filled.
        last_use: When the block was filled or last sent from, whichever is later.
    """

    __slots__ = (
        "block",
        "claimants",
        "end",
        "filled_at",
        "is_filled",
        "last_use",
        "offset",
        "slot",
    )

    def __init__(self, block: Block, offset: int, slot: int) -> None:
        self.block = block
        self.offset = offset
        self.end = offset + block.size
        self.slot = slot
        self.claimants: dict[Claimant, None] = {}
        self.is_filled = False
        self.filled_at = 0.0
        self.last_use = 0.0


class TransientBlocks:
    """The slots and the short-lived blocks in them."""

    def __init__(self, arena: Arena, clock: Callable[[], float]) -> None:
        """Start with all slots free.

        Args:
            arena: Contains the slots.
            clock: Returns the current time in seconds.
        """
        self._arena = arena
        self._clock = clock
        # Last in, first out: the slot freed last has its pages allocated already.
        self._free = list(reversed(range(len(arena.layout.slot_positions))))
        self._dirty: set[int] = set()  # slots that may have pages allocated
        self._blocks: dict[tuple[Format, int, int], TransientBlock] = {}
        self._reserved = len(self._free) // 4  # for small blocks
        # Claimants that wait for a slot, in order of arrival.
        self._waiting_small: dict[Claimant, None] = {}
        self._waiting_large: dict[Claimant, None] = {}
        self._last_claim = clock()

    @property
    def is_wanted(self) -> bool:
        """Whether a claimant waits for a slot."""
        return bool(self._waiting_small or self._waiting_large)

    @property
    def used_slots(self) -> int:
        """Number of slots that hold a block."""
        return len(self._arena.layout.slot_positions) - len(self._free)

    @property
    def max_claims(self) -> int:
        """Maximum number of blocks that a reply may claim now: one if slots are scarce."""
        return MAX_CLAIMS if len(self._free) > MAX_CLAIMS and not self.is_wanted else 1

    def claim(
        self, claimant: Claimant, format: Format, start: int, stop: int
    ) -> tuple[TransientBlock, bool] | None:
        """Claim the block of elements `start` to `stop - 1`, which must fit a slot.

        Returns:
            The block, and whether it is new and has to be filled; None if no slot is free. In that
            case `claimant.on_free_slot` is called when one may be.
        """
        key = (format, start, stop)
        entry = self._blocks.get(key)
        is_new = entry is None
        if entry is None:
            offset = format.offset(start)
            size = format.offset(stop) - offset
            if not self._make_room(claimant, size):
                return None
            slot = self._free.pop()
            self._dirty.add(slot)
            position = self._arena.layout.slot_positions[slot]
            block = Block(format, start, stop, position, size)
            entry = self._blocks[key] = TransientBlock(block, offset, slot)
        self._last_claim = self._clock()
        entry.claimants[claimant] = None
        self.cancel_wait(claimant)
        return entry, is_new

    def _make_room(self, claimant: Claimant, size: int) -> bool:
        """Ensure that a slot is free for `size` bytes, or queue the claimant and return False."""
        is_small = size <= SMALL_BYTES
        while len(self._free) <= (0 if is_small else self._reserved):
            if not self._evict_stalled(claimant):
                waiting = self._waiting_small if is_small else self._waiting_large
                waiting[claimant] = None
                return False
        return True

    def release(self, claimant: Claimant, entry: TransientBlock) -> None:
        """Release a claim; free the slot if the block is filled and has no other claim."""
        entry.claimants.pop(claimant, None)
        if not entry.claimants and entry.is_filled:
            self._free_slot(entry)
            self.wake_next_waiter()

    def cancel_wait(self, claimant: Claimant) -> None:
        """Remove a claimant from the queue for free slots."""
        self._waiting_small.pop(claimant, None)
        self._waiting_large.pop(claimant, None)

    def bytes_between(self, entry: TransientBlock, offset: int, end: int) -> memoryview:
        """Return bytes of a filled block, given by offsets among all elements of its format."""
        entry.last_use = self._clock()
        shift = entry.block.position - entry.offset
        return self._arena.bytes_between(offset + shift, end + shift)

    def block_finished(self, block: Block) -> None:
        """Mark a block as filled and notify its claimants."""
        entry = self._blocks[_key(block)]
        entry.is_filled = True
        entry.filled_at = entry.last_use = self._clock()
        if not entry.claimants:  # all claims were released meanwhile
            self._free_slot(entry)
            self.wake_next_waiter()
        for claimant in list(entry.claimants):
            claimant.on_progress()

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Free the slot of a failed block and notify its claimants."""
        entry = self._blocks[_key(block)]
        claimants = list(entry.claimants)
        self._free_slot(entry)
        self.wake_next_waiter()
        for claimant in claimants:
            claimant.on_failure(block, message, code)

    def _free_slot(self, entry: TransientBlock) -> None:
        entry.is_filled = False
        del self._blocks[_key(entry.block)]
        self._free.append(entry.slot)

    def wake_next_waiter(self) -> None:
        """Notify the claimant that has waited longest, small blocks first."""
        waiting = self._waiting_small or self._waiting_large
        if waiting:
            claimant = next(iter(waiting))
            del waiting[claimant]
            claimant.on_free_slot()

    def _evict_stalled(self, claimant: Claimant) -> bool:
        """Evict the least recently used block that has stalled or was held too long.

        Args:
            claimant: Waits for the slot; its own blocks are not evicted.

        Returns:
            Whether a block was evicted.
        """
        now = self._clock()
        stalled = [
            entry
            for entry in self._blocks.values()
            if entry.is_filled
            and (entry.last_use < now - STALLED_SECONDS or entry.filled_at < now - HELD_SECONDS)
            and claimant not in entry.claimants
        ]
        if not stalled:
            return False
        entry = min(stalled, key=lambda candidate: candidate.last_use)
        self._free_slot(entry)
        for owner in list(entry.claimants):
            owner.on_evicted(entry)
        return True

    def free_idle_memory(self) -> None:
        """Free the slots' memory after an idle period; called periodically."""
        if not self._blocks and self._clock() - self._last_claim > IDLE_SECONDS:
            for slot in self._dirty:
                self._arena.free_slot(slot)
            self._dirty.clear()


def _key(block: Block) -> tuple[Format, int, int]:
    return block.format, block.start, block.stop
