"""Far blocks: those outside the arrays, claimed by replies and kept for later ones.

A reply claims the blocks it is about to send; concurrent replies that need the same block share
it. The number of claimed blocks is fixed: each has a *slot*, so the memory of replies is bounded
whatever clients request. A block without a claim gives back its slot. It is kept as long as
`memory_limit` allows (`fibserver.memory.kept_blocks`), and a later reply that claims it finds its
bytes.

Clients that read slowly or not at all could occupy all slots. So when a reply waits for a slot,
a filled block loses its claims, the least recently sent first, if nothing was sent from it for
`STALLED_SECONDS` or it was filled `HELD_SECONDS` ago. Its claimants claim it again when their
clients resume reading.

The kernel accepts a small block at once, so small blocks leave their slots as soon as they are
filled. They serve single numbers that are cheap to compute, which must not wait for large
replies: some slots are reserved for them, and a free slot is offered to their claimants first.
"""

from collections.abc import Callable

from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Block
from fibserver.memory.far_block import Claimant, FarBlock, Key, key_of
from fibserver.memory.far_positions import FarPositions
from fibserver.memory.kept_blocks import KeptBlocks
from fibserver.memory.layout import pages
from fibserver.memory.memory_limit import MemoryLimit

__all__ = ["STALLED_SECONDS", "FarBlocks", "slots_for"]

MAX_CLAIMS = 3
"""Maximum number of blocks that a reply claims: one being sent, one ready, one being filled."""

STALLED_SECONDS = 0.1
"""A block from which nothing was sent for this long may lose its claims."""

HELD_SECONDS = 1.0
"""A block that was filled this long ago may lose its claims even while it is being sent. The
client of a full block then reads less than 4 MiB/s."""

SMALL_BYTES = 128 * 1024
"""Maximum size of a small block; every number that is cheap to compute fits."""

IDLE_SECONDS = 5.0
"""Pages without a block are freed when no block was claimed for this long."""

USED_ONCE_DIVISOR = 4
"""Blocks that were used once are kept in 1/4 of the memory limit."""


def slots_for(workers: int) -> int:
    """Return the number of slots for a number of workers.

    Each worker can fill one block and have a second one queued, while as many are being sent. A
    quarter of the slots is reserved for small blocks.
    """
    return max(8, 4 * workers)


class FarBlocks:
    """The far blocks of all formats.

    Attributes:
        found: Number of claims of a block that was kept.
    """

    def __init__(
        self, arena: Arena, slots: int, memory: MemoryLimit, clock: Callable[[], float]
    ) -> None:
        """Start without blocks.

        Args:
            arena: Contains the positions of far blocks.
            slots: Maximum number of claimed blocks.
            memory: The limit on the memory of kept blocks.
            clock: Returns the current time in seconds.
        """
        self.found = 0
        self._arena = arena
        self._slots = slots
        self._reserved_slots = slots // 4  # for small blocks
        self._memory = memory
        memory.users.append(self)
        self._clock = clock
        self._claimed: dict[Key, FarBlock] = {}
        self._kept = KeptBlocks()
        self._positions = FarPositions(arena)
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
        """Number of claimed blocks."""
        return len(self._claimed)

    @property
    def kept_blocks(self) -> int:
        """Number of kept blocks."""
        return len(self._kept)

    @property
    def _free_slots(self) -> int:
        return self._slots - len(self._claimed)

    @property
    def max_claims(self) -> int:
        """Maximum number of blocks that a reply may claim now: one if slots are scarce."""
        return MAX_CLAIMS if self._free_slots > MAX_CLAIMS and not self.is_wanted else 1

    # Claims.

    def is_filled(self, key: Key) -> bool:
        """Return whether the bytes of a block are in memory."""
        block = self.find(key)
        return block is not None and block.is_filled

    def find(self, key: Key) -> FarBlock | None:
        """Return a block, claimed or kept, or None."""
        return self._claimed.get(key) or self._kept.get(key)

    def claim(
        self, claimant: Claimant, key: Key, *, is_kept: bool = True
    ) -> tuple[FarBlock, bool] | None:
        """Claim a block.

        Args:
            claimant: The reply that needs the block.
            key: Identifies the block.
            is_kept: Whether it is worth keeping for later replies.

        Returns:
            The block, and whether it is new and has to be filled; None if no slot is free. In that
            case `claimant.on_free_slot` is called when one may be.
        """
        block = self._claimed.get(key)
        is_new = False
        if block is None:
            if not self._has_slot(claimant, key):
                return None
            block = self._kept.pop(key)
            is_new = block is None
            if block is None:
                block = self._new_block(key)
            else:
                self.found += 1
                block.was_reused = True
                block.filled_at = block.last_use = self._clock()
            self._claimed[key] = block
            self._free_surplus_pages()
        self._last_claim = self._clock()
        block.is_kept |= is_kept
        block.claimants[claimant] = None
        self.cancel_wait(claimant)
        return block, is_new

    def _new_block(self, key: Key) -> FarBlock:
        format, start, stop = key
        offset = format.offset(start)
        size = format.offset(stop) - offset
        position, allocated = self._take_position()
        block = Block(format, start, stop, position, size)
        return FarBlock(block, offset, max(allocated, pages(size)))

    def _has_slot(self, claimant: Claimant, key: Key) -> bool:
        """Ensure that a slot is free for a block, or queue the claimant and return False."""
        format, start, stop = key
        is_small = format.offset(stop) - format.offset(start) <= SMALL_BYTES
        while self._free_slots <= (0 if is_small else self._reserved_slots):
            if not self._end_stalled_claims(claimant, key):
                waiting = self._waiting_small if is_small else self._waiting_large
                waiting[claimant] = None
                return False
        return True

    def release(self, claimant: Claimant, block: FarBlock) -> None:
        """Release a claim; free the slot if the block is filled and has no other claim."""
        block.claimants.pop(claimant, None)
        key = key_of(block.block)
        if not block.claimants and block.is_filled and self._claimed.get(key) is block:
            self._keep(key, block)
            self.wake_next_waiter()

    def cancel_wait(self, claimant: Claimant) -> None:
        """Remove a claimant from the queue for free slots."""
        self._waiting_small.pop(claimant, None)
        self._waiting_large.pop(claimant, None)

    def bytes_between(self, block: FarBlock, offset: int, end: int) -> memoryview:
        """Return bytes of a filled block, given by offsets among all elements of its format."""
        block.last_use = self._clock()
        shift = block.block.position - block.offset
        return self._arena.bytes_between(offset + shift, end + shift)

    def block_finished(self, finished: Block) -> None:
        """Mark a block as filled and notify its claimants."""
        key = key_of(finished)
        block = self._claimed[key]
        block.is_filled = True
        block.filled_at = block.last_use = self._clock()
        if not block.claimants:  # all claims were released meanwhile
            self._keep(key, block)
            self.wake_next_waiter()
        for claimant in list(block.claimants):
            claimant.on_progress()

    def block_failed(self, failed: Block, message: str, code: str) -> None:
        """Remove a failed block and notify its claimants."""
        block = self._claimed.pop(key_of(failed))
        self._return_position(block)
        self.wake_next_waiter()
        for claimant in list(block.claimants):
            claimant.on_failure(failed, message, code)

    def wake_next_waiter(self) -> None:
        """Notify the claimant that has waited longest, small blocks first."""
        waiting = self._waiting_small or self._waiting_large
        if waiting:
            claimant = next(iter(waiting))
            del waiting[claimant]
            claimant.on_free_slot()

    def _end_stalled_claims(self, claimant: Claimant, key: Key) -> bool:
        """End the claims of the least recently used block that has stalled or was held too long.

        Args:
            claimant: Waits for the slot; its own blocks keep their claims.
            key: The block that it needs, which is not evicted if it is kept.

        Returns:
            Whether a slot became free.
        """
        now = self._clock()
        stalled = [
            block
            for block in self._claimed.values()
            if block.is_filled
            and (block.last_use < now - STALLED_SECONDS or block.filled_at < now - HELD_SECONDS)
            and claimant not in block.claimants
        ]
        if not stalled:
            return False
        block = min(stalled, key=lambda candidate: candidate.last_use)
        owners = list(block.claimants)
        block.claimants.clear()
        wanted = self._kept.get(key)
        if wanted is not None:
            wanted.pins += 1
        self._keep(key_of(block.block), block)
        if wanted is not None:
            wanted.pins -= 1
        for owner in owners:
            owner.on_claim_lost(block)
        return True

    # Kept blocks.

    @property
    def used_bytes(self) -> int:
        """Size of all kept blocks in bytes."""
        return self._kept.used_once_bytes + self._kept.reused_bytes

    @property
    def oldest_use(self) -> float | None:
        """When the kept block to evict next was last used, or None."""
        key = self._kept.oldest
        block = self._kept.get(key) if key is not None else None
        return block.last_use if block is not None else None

    def evict_oldest(self) -> None:
        """Evict the kept block that was used longest ago."""
        key = self._kept.oldest
        assert key is not None, "no kept block can be evicted"
        self._evict(key)

    def unpin(self, block: FarBlock) -> None:
        """Remove a pin, and evict a block that was kept only because of it."""
        block.pins -= 1
        key = key_of(block.block)
        is_surplus = self._memory.used_bytes > self._memory.limit_bytes
        if is_surplus and not block.pins and self._kept.get(key) is block:
            self._evict(key)

    def _keep(self, key: Key, block: FarBlock) -> None:
        """Free the slot of a filled block, and keep the block if there is memory for it."""
        del self._claimed[key]
        needed = pages(block.block.size)
        if block.allocated_bytes > 2 * needed:
            self._arena.free(block.block.position + needed, block.allocated_bytes - needed)
            block.allocated_bytes = needed
        if block.pins or (
            block.is_kept and self._admits(block) and self._memory.make_room(block.allocated_bytes)
        ):
            self._kept.add(key, block)
        else:
            self._return_position(block)

    def _admits(self, block: FarBlock) -> bool:
        """Make room among the blocks that were used once, if this is one of them."""
        if block.was_reused:
            return True
        share = self._memory.limit_bytes // USED_ONCE_DIVISOR - block.allocated_bytes
        while share >= 0 and self._kept.used_once_bytes > share:
            key = self._kept.oldest_used_once
            if key is None:
                return False
            self._evict(key)
        return share >= 0

    def _evict(self, key: Key) -> None:
        block = self._kept.pop(key)
        assert block is not None
        if block.was_reused:
            self._memory.evictions += 1
        self._return_position(block)

    # Positions.

    def _take_position(self) -> tuple[int, int]:
        """Return a free position and the size of its pages."""
        if not self._positions:
            key = self._kept.oldest_used_once or self._kept.oldest
            assert key is not None, "there are more positions than slots"
            self._evict(key)
        return self._positions.take()

    def _return_position(self, block: FarBlock) -> None:
        self._positions.give_back(block.block.position, block.allocated_bytes)
        self._free_surplus_pages()

    def _free_surplus_pages(self) -> None:
        """Bound claimed blocks and spare pages together to the memory of the slots."""
        self._positions.free_pages(kept=max(1, self._free_slots))

    def free_idle_memory(self) -> None:
        """Free pages without a block after an idle period; called periodically."""
        if not self._claimed and self._clock() - self._last_claim > IDLE_SECONDS:
            self._positions.free_pages(kept=0)
