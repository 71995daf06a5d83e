"""Short-lived blocks: what lies beyond the arrays, filled into slots and dropped once sent.

There are few slots, so whatever is asked for takes bounded memory. An answer claims the blocks
it is about to send; answers that want the same block at the same time share it. A slot is free
again when all who claimed it have sent it.

A client that stops reading would keep its slots for ever, and a few of them would keep all; one
that reads little by little would keep them for minutes. So when an answer waits for a slot, the
filled block from which nothing was sent for the longest time is taken away, if that is a while or
if the block has been there for long; its claimants ask for it again when their clients go on
reading. Computing it again costs some milliseconds, and nobody is held up.

A small block is sent as soon as it is filled, since the kernel takes all of it: it is a number of
cheap requests, which must not wait for large ones. So some slots are for small blocks only, and
a free slot is offered first to those who wait with a small one.
"""

from collections.abc import Callable
from typing import Protocol

from fibcommon.formats import Format
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Block

__all__ = ["STALLED_SECONDS", "Claimant", "TransientBlock", "TransientBlocks", "slots_for"]

MOST_CLAIMS = 3
"""How many blocks an answer may claim at a time: one being sent, one ready, one being filled."""

STALLED_SECONDS = 0.1
"""A block from which nothing was sent for so long may be taken away."""

HELD_SECONDS = 1.0
"""A block that has been filled for so long may be taken away although it is being sent: at less
than 4 MB/s, which is 40 Mbit/s."""

SMALL_BYTES = 128 * 1024
"""Blocks up to this size are small: every single number that is cheap to compute is."""

IDLE_SECONDS = 5.0
"""When no block was claimed for so long, the slots' memory is given back."""


def slots_for(workers: int) -> int:
    """Return how many slots there should be for so many workers.

    Each worker can have a block in hand and one to go on with, while as many are being sent. A
    quarter of them is for small blocks only.
    """
    return max(8, 4 * workers)


class Claimant(Protocol):
    """Something that claims short-lived blocks."""

    def on_progress(self) -> None:
        """Take note that a claimed block is filled."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Take note that a claimed block cannot be had, and why, as for an error reply."""

    def on_evicted(self, block: "TransientBlock") -> None:
        """Take note that a claimed block was taken away."""

    def on_free_slot(self) -> None:
        """Take note that there may be a slot now."""


class TransientBlock:
    """A block in a slot.

    Attributes:
        block: which elements, and where.
        offset: the offset of its first byte among all elements of the format.
        end: the offset of its end.
        slot: the slot's number.
        claimants: who wants to send it.
        is_filled: whether its bytes are there; not so, or no more, otherwise.
        filled_at: when it was filled.
        last_use: when it was filled, or something of it was last sent.
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
    """The slots and the blocks in them."""

    def __init__(self, arena: Arena, clock: Callable[[], float]) -> None:
        """Find all slots free.

        Args:
            arena: where they lie.
            clock: returns the time.
        """
        self._arena = arena
        self._clock = clock
        # The slot freed last is taken first: its memory is there already.
        self._free = list(reversed(range(len(arena.layout.slot_positions))))
        self._dirty: set[int] = set()  # slots that may have memory
        self._blocks: dict[tuple[Format, int, int], TransientBlock] = {}
        self._reserved = len(self._free) // 4  # for small blocks
        # In the order of their turns.
        self._waiting_small: dict[Claimant, None] = {}
        self._waiting_large: dict[Claimant, None] = {}
        self._last_claim = clock()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._waiting_small or self._waiting_large)

    @property
    def used_slots(self) -> int:
        """How many slots hold a block."""
        return len(self._arena.layout.slot_positions) - len(self._free)

    @property
    def most_claims(self) -> int:
        """How many blocks an answer may claim at present: fewer when slots run short."""
        return MOST_CLAIMS if len(self._free) > MOST_CLAIMS and not self.is_wanted else 1

    def claim(
        self, claimant: Claimant, format: Format, start: int, stop: int
    ) -> tuple[TransientBlock, bool] | None:
        """Claim the block of elements start to stop-1, which must fit a slot.

        Returns:
            The block, and whether it is new and has to be filled; None if there is no slot. Then
            the claimant is told when there may be one.
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
        self.forget(claimant)
        return entry, is_new

    def _make_room(self, claimant: Claimant, size: int) -> bool:
        """Have a free slot for a block of this size, or let the claimant wait for one."""
        is_small = size <= SMALL_BYTES
        while len(self._free) <= (0 if is_small else self._reserved):
            if not self._evict_stalled(claimant):
                waiting = self._waiting_small if is_small else self._waiting_large
                waiting[claimant] = None
                return False
        return True

    def release(self, claimant: Claimant, entry: TransientBlock) -> None:
        """Give up a claim."""
        entry.claimants.pop(claimant, None)
        if not entry.claimants and entry.is_filled:
            self._free_slot(entry)
            self.wake_next_waiter()

    def forget(self, claimant: Claimant) -> None:
        """No longer tell somebody of free slots."""
        self._waiting_small.pop(claimant, None)
        self._waiting_large.pop(claimant, None)

    def bytes_between(self, entry: TransientBlock, offset: int, end: int) -> memoryview:
        """Return bytes of a filled block, by their offsets among all elements."""
        entry.last_use = self._clock()
        shift = entry.block.position - entry.offset
        return self._arena.bytes_between(offset + shift, end + shift)

    def block_finished(self, block: Block) -> None:
        """Note that a block is filled, and tell those who claimed it."""
        entry = self._blocks[_key(block)]
        entry.is_filled = True
        entry.filled_at = entry.last_use = self._clock()
        if not entry.claimants:  # they have all gone meanwhile
            self._free_slot(entry)
            self.wake_next_waiter()
        for claimant in list(entry.claimants):
            claimant.on_progress()

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Tell those who claimed a block that it cannot be had."""
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
        """Let the one who has waited longest try again, first of those who need little."""
        waiting = self._waiting_small or self._waiting_large
        if waiting:
            claimant = next(iter(waiting))
            del waiting[claimant]
            claimant.on_free_slot()

    def _evict_stalled(self, claimant: Claimant) -> bool:
        """Free the slot that others used longest ago, if they had their time; return whether."""
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
        entry = min(stalled, key=lambda each: each.last_use)
        self._free_slot(entry)
        for loser in list(entry.claimants):
            loser.on_evicted(entry)
        return True

    def give_back_idle_memory(self) -> None:
        """From time to time: give the slots' memory back if nobody has used them for a while."""
        if not self._blocks and self._clock() - self._last_claim > IDLE_SECONDS:
            for slot in self._dirty:
                self._arena.drop_slot(slot)
            self._dirty.clear()


def _key(block: Block) -> tuple[Format, int, int]:
    return block.format, block.start, block.stop
