"""Short-lived blocks: claims, waiting for slots, and eviction."""

from collections.abc import Iterator

import pytest

from fibserver.memory.blocks import Block
from fibserver.memory.transient_blocks import (
    HELD_SECONDS,
    IDLE_SECONDS,
    MAX_CLAIMS,
    STALLED_SECONDS,
    TransientBlock,
    TransientBlocks,
    slots_for,
)
from tests.support.small_engine import ELEMENTS, JSON, SMALL_BYTES, TEXT, Machine

pytestmark = pytest.mark.usefixtures("small")

SLOTS = 4


class FakeClaimant:
    """A claimant that records its notifications.

    Attributes:
        progress: Number of calls of `on_progress`.
        failures: Arguments of the calls of `on_failure`.
        losses: The evicted blocks.
        offers: Number of calls of `on_free_slot`.
    """

    def __init__(self) -> None:
        self.progress = 0
        self.failures: list[tuple[Block, str, str]] = []
        self.losses: list[TransientBlock] = []
        self.offers = 0

    def on_progress(self) -> None:
        """Count the call."""
        self.progress += 1

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Record the failure."""
        self.failures.append((block, message, code))

    def on_evicted(self, block: TransientBlock) -> None:
        """Record the eviction."""
        self.losses.append(block)

    def on_free_slot(self) -> None:
        """Count the call."""
        self.offers += 1


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with few slots."""
    machine = Machine(64 * 1024, SLOTS)
    yield machine
    machine.close()


@pytest.fixture
def transient_blocks(machine: Machine) -> TransientBlocks:
    """The machine's slots."""
    return machine.transient_blocks


def claim(
    transient_blocks: TransientBlocks, claimant: FakeClaimant, start: int = 0
) -> TransientBlock:
    """Claim a new block of 16 elements."""
    claimed = transient_blocks.claim(claimant, TEXT, start, start + 16)
    assert claimed is not None
    entry, is_new = claimed
    assert is_new
    return entry


def claim_large(
    transient_blocks: TransientBlocks, claimant: FakeClaimant, number: int
) -> TransientBlock | None:
    """Claim a new block that is not small; return it, or None if no slot is free."""
    start = 1000 + 64 * number
    assert TEXT.offset(start + 64) - TEXT.offset(start) > SMALL_BYTES
    claimed = transient_blocks.claim(claimant, TEXT, start, start + 64)
    return claimed[0] if claimed else None


def fill(machine: Machine, entry: TransientBlock) -> None:
    """Fill a block."""
    machine.arena.fill(entry.block)
    machine.transient_blocks.block_finished(entry.block)


def use_up(machine: Machine, claimant: FakeClaimant) -> list[TransientBlock]:
    """Claim and fill a block in every slot."""
    entries = [claim(machine.transient_blocks, claimant, 16 * number) for number in range(SLOTS)]
    for entry in entries:
        fill(machine, entry)
    return entries


def test_slots_for_workers() -> None:
    """There are four slots per worker, and at least eight."""
    assert [slots_for(workers) for workers in (1, 2, 3, 16)] == [8, 8, 12, 64]


def test_a_claimed_block_has_a_slot_of_its_own(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """Each block has its own slot, correct offsets and no index."""
    owner = FakeClaimant()
    entries = [claim(transient_blocks, owner, 16 * number) for number in range(SLOTS)]
    assert sorted(entry.slot for entry in entries) == list(range(SLOTS))
    for number, entry in enumerate(entries):
        block = entry.block
        assert (block.start, block.stop) == (16 * number, 16 * number + 16)
        assert block.position == machine.arena.layout.slot_positions[entry.slot]
        assert (entry.offset, entry.end) == (TEXT.offset(block.start), TEXT.offset(block.stop))
        assert block.size == entry.end - entry.offset
        assert not block.is_resident
        assert not entry.is_filled
    assert transient_blocks.used_slots == SLOTS


def test_bytes_of_a_filled_block(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """Bytes are addressed by their offsets among all elements."""
    owner = FakeClaimant()
    claim(transient_blocks, owner, 500)
    entry = claim(transient_blocks, owner, 1000)
    fill(machine, entry)
    assert entry.is_filled
    expected = b"".join(ELEMENTS[TEXT][1000:1016])
    assert bytes(transient_blocks.bytes_between(entry, entry.offset, entry.end)) == expected
    part = transient_blocks.bytes_between(entry, entry.offset + 10, entry.offset + 30)
    assert bytes(part) == expected[10:30]


def test_claims_are_shared(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """Claims of the same elements and format share one block, which is filled once."""
    one, other = FakeClaimant(), FakeClaimant()
    entry = claim(transient_blocks, one)
    assert transient_blocks.claim(other, TEXT, 0, 16) == (entry, False)
    assert transient_blocks.claim(other, TEXT, 0, 17) != (entry, False)
    assert transient_blocks.claim(other, JSON, 0, 16) != (entry, False)
    fill(machine, entry)
    assert one.progress == other.progress == 1
    late = FakeClaimant()
    assert transient_blocks.claim(late, TEXT, 0, 16) == (entry, False)
    assert late.progress == 0, "the block was filled before the claim"


def test_a_slot_is_free_when_all_have_let_go(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """The last release of a block frees its slot; a second release has no effect."""
    one, other = FakeClaimant(), FakeClaimant()
    entry = claim(transient_blocks, one)
    transient_blocks.claim(other, TEXT, 0, 16)
    fill(machine, entry)
    transient_blocks.release(one, entry)
    transient_blocks.release(one, entry)
    assert transient_blocks.used_slots == 1
    assert entry.is_filled
    transient_blocks.release(other, entry)
    assert transient_blocks.used_slots == 0
    transient_blocks.release(other, entry)
    assert transient_blocks.used_slots == 0
    assert claim(transient_blocks, one) is not entry, "the old block was dropped"


def test_released_while_it_is_filled(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """A released slot is not reused before the worker has filled it."""
    owner = FakeClaimant()
    entry = claim(transient_blocks, owner)
    transient_blocks.release(owner, entry)
    assert transient_blocks.used_slots == 1
    others = [claim(transient_blocks, owner, 16 * number) for number in range(1, SLOTS)]
    assert entry.slot not in {other.slot for other in others}
    fill(machine, entry)
    assert transient_blocks.used_slots == SLOTS - 1
    assert owner.progress == 0, "it has released the block"


def test_claimed_again_while_it_is_filled(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A block without claimants can be claimed again until it is filled."""
    owner, late = FakeClaimant(), FakeClaimant()
    entry = claim(transient_blocks, owner)
    transient_blocks.release(owner, entry)
    assert transient_blocks.claim(late, TEXT, 0, 16) == (entry, False)
    fill(machine, entry)
    assert (owner.progress, late.progress) == (0, 1)
    assert transient_blocks.used_slots == 1


def test_failure(transient_blocks: TransientBlocks) -> None:
    """A failed block frees its slot, its claimants are notified, and it can be claimed again."""
    one, other, stranger = FakeClaimant(), FakeClaimant(), FakeClaimant()
    entry = claim(transient_blocks, one)
    transient_blocks.claim(other, TEXT, 0, 16)
    claim(transient_blocks, stranger, 500)
    transient_blocks.block_failed(entry.block, "no room", "NOSPACE")
    assert one.failures == other.failures == [(entry.block, "no room", "NOSPACE")]
    assert stranger.failures == []
    assert transient_blocks.used_slots == 1
    claim(transient_blocks, one)


def test_failure_without_claimants_frees_slot(transient_blocks: TransientBlocks) -> None:
    """The failure of a block without claimants frees its slot."""
    owner = FakeClaimant()
    entry = claim(transient_blocks, owner)
    transient_blocks.release(owner, entry)
    transient_blocks.block_failed(entry.block, "no room", "NOSPACE")
    assert transient_blocks.used_slots == 0
    assert owner.failures == []


def test_no_slot(transient_blocks: TransientBlocks) -> None:
    """While all slots are being filled, a claim returns None and the claimant waits."""
    owner, late = FakeClaimant(), FakeClaimant()
    for number in range(SLOTS):
        claim(transient_blocks, owner, 16 * number)
    assert not transient_blocks.is_wanted
    assert transient_blocks.claim(late, TEXT, 500, 516) is None
    assert transient_blocks.is_wanted
    assert transient_blocks.used_slots == SLOTS
    assert transient_blocks.claim(late, TEXT, 0, 16) is not None, "an existing block needs no slot"
    assert not transient_blocks.is_wanted


def test_free_slots_are_offered_in_the_order_of_waiting(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """Free slots are offered in order of arrival; claiming again does not change the order."""
    owner, first, second = FakeClaimant(), FakeClaimant(), FakeClaimant()
    entries = use_up(machine, owner)
    for waiting in (first, second, first):
        assert transient_blocks.claim(waiting, TEXT, 500, 516) is None
    transient_blocks.release(owner, entries[0])
    assert (first.offers, second.offers) == (1, 0)
    transient_blocks.release(owner, entries[1])
    assert (first.offers, second.offers) == (1, 1)
    assert not transient_blocks.is_wanted
    transient_blocks.release(owner, entries[2])
    assert (first.offers, second.offers) == (1, 1)


def test_an_offer_that_was_of_no_use_is_repeated(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A claimant that finds no slot after an offer waits again and is offered another."""
    owner, waiting = FakeClaimant(), FakeClaimant()
    use_up(machine, owner)
    transient_blocks.claim(waiting, TEXT, 500, 516)
    transient_blocks.wake_next_waiter()
    assert waiting.offers == 1
    transient_blocks.wake_next_waiter()
    assert waiting.offers == 1, "it has not claimed again"
    transient_blocks.claim(waiting, TEXT, 500, 516)
    transient_blocks.wake_next_waiter()
    assert waiting.offers == 2


def test_forget(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """A forgotten claimant is offered no slot; the next one is."""
    owner, gone, waiting = FakeClaimant(), FakeClaimant(), FakeClaimant()
    entries = use_up(machine, owner)
    for claimant in (gone, waiting):
        transient_blocks.claim(claimant, TEXT, 500, 516)
    transient_blocks.cancel_wait(gone)
    transient_blocks.cancel_wait(FakeClaimant())
    transient_blocks.release(owner, entries[0])
    assert (gone.offers, waiting.offers) == (0, 1)


def test_fewer_claims_when_slots_run_short(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A reply may claim several blocks, but only one when few slots are free."""
    owner = FakeClaimant()
    assert transient_blocks.max_claims == MAX_CLAIMS
    claim(transient_blocks, owner)
    assert transient_blocks.max_claims == 1, "the free slots are left for others"


def test_one_claim_while_somebody_waits(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """Only one claim is allowed while a claimant waits, even if slots are free."""
    owner = FakeClaimant()
    entries = use_up(machine, owner)
    for waiting in range(SLOTS + 1):
        transient_blocks.claim(FakeClaimant(), TEXT, 500 + waiting, 600)
    for entry in entries:
        transient_blocks.release(owner, entry)
    assert transient_blocks.used_slots == 0
    assert transient_blocks.is_wanted
    assert transient_blocks.max_claims == 1
    transient_blocks.wake_next_waiter()
    assert transient_blocks.max_claims == MAX_CLAIMS


def test_slot_of_stalled_reader_is_evicted(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A claimant that waits gets the least recently used slot among those that have stalled."""
    owner, late = FakeClaimant(), FakeClaimant()
    entries = use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS
    assert transient_blocks.claim(late, TEXT, 500, 516) is None, "not yet"
    for entry in (entries[0], entries[3], entries[2]):
        machine.clock.now += 0.01
        transient_blocks.bytes_between(entry, entry.offset, entry.offset + 1)
    claimed = transient_blocks.claim(late, TEXT, 500, 516)
    assert claimed is not None
    assert claimed[0].slot == entries[1].slot
    assert owner.losses == [entries[1]]
    assert not entries[1].is_filled
    machine.clock.now += STALLED_SECONDS + 0.001
    transient_blocks.claim(late, TEXT, 600, 616)
    assert owner.losses == [entries[1], entries[0]]


def test_slot_of_slow_reader_is_evicted(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A block that is sent slowly is evicted too, after `HELD_SECONDS`."""
    owner, late = FakeClaimant(), FakeClaimant()
    entries = use_up(machine, owner)
    end = machine.clock.now + HELD_SECONDS
    while machine.clock.now < end:
        for entry in entries:
            transient_blocks.bytes_between(entry, entry.offset, entry.offset + 1)
        assert transient_blocks.claim(late, TEXT, 500, 516) is None
        machine.clock.now += STALLED_SECONDS / 2
    assert transient_blocks.claim(late, TEXT, 500, 516)
    assert owner.losses == [entries[0]]


def test_some_slots_are_for_small_blocks(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A quarter of the slots is reserved for small blocks."""
    owner, large, small = FakeClaimant(), FakeClaimant(), FakeClaimant()
    entries = [claim_large(transient_blocks, owner, number) for number in range(SLOTS * 3 // 4)]
    assert all(entries)
    assert claim_large(transient_blocks, large, 9) is None
    assert transient_blocks.claim(small, TEXT, 0, 16) is not None
    assert entries[0] is not None
    fill(machine, entries[0])
    transient_blocks.release(owner, entries[0])
    assert large.offers == 1
    assert claim_large(transient_blocks, large, 9) is None, (
        "the one free slot is for small blocks again"
    )
    assert transient_blocks.used_slots == SLOTS - 1


def test_a_large_block_takes_as_many_slots_from_the_stalled_as_needed(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A large block may evict several stalled small ones."""
    owner, large = FakeClaimant(), FakeClaimant()
    use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS + 0.01
    assert claim_large(transient_blocks, large, 9)
    assert len(owner.losses) == 2


def test_small_blocks_are_offered_a_slot_first(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """Claimants of small blocks are offered slots before those of large ones."""
    owner, large, small = FakeClaimant(), FakeClaimant(), FakeClaimant()
    entries = use_up(machine, owner)
    assert claim_large(transient_blocks, large, 9) is None
    assert transient_blocks.claim(small, TEXT, 500, 516) is None
    transient_blocks.release(owner, entries[0])
    assert (large.offers, small.offers) == (0, 1)
    transient_blocks.release(owner, entries[1])
    assert (large.offers, small.offers) == (1, 1)
    for claimant in (large, small):
        claim_large(transient_blocks, claimant, 9)
        transient_blocks.cancel_wait(claimant)
    assert not transient_blocks.is_wanted


def test_all_claimants_are_notified_of_eviction(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """All claimants of an evicted block are notified, and may release it."""
    owner, other, late = FakeClaimant(), FakeClaimant(), FakeClaimant()
    first, *_ = use_up(machine, owner)
    transient_blocks.claim(other, TEXT, 0, 16)
    machine.clock.now += 1
    assert transient_blocks.claim(late, TEXT, 500, 516)
    assert owner.losses == other.losses == [first]
    for claimant in (owner, other):
        transient_blocks.release(claimant, first)
    assert transient_blocks.used_slots == SLOTS, "the late claimant has the slot now"


def test_block_being_filled_is_never_evicted(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A block that is being filled is never evicted."""
    owner, late = FakeClaimant(), FakeClaimant()
    for number in range(SLOTS):
        claim(transient_blocks, owner, 16 * number)
    machine.clock.now += 1000
    assert transient_blocks.claim(late, TEXT, 500, 516) is None
    assert owner.losses == []


def test_eviction_only_when_slots_are_short(
    machine: Machine, transient_blocks: TransientBlocks
) -> None:
    """A stalled block is not evicted while another slot is free."""
    owner, late = FakeClaimant(), FakeClaimant()
    entry = claim(transient_blocks, owner)
    fill(machine, entry)
    machine.clock.now += 1000
    claim(transient_blocks, late, 500)
    assert owner.losses == []
    assert entry.is_filled


def test_idle_memory_is_given_back(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """The slots' memory is freed when no block was claimed for `IDLE_SECONDS`, not earlier."""
    empty = machine.resident_bytes
    owner = FakeClaimant()
    for _ in range(2):
        entries = use_up(machine, owner)
        used = machine.resident_bytes
        assert used > empty
        machine.clock.now += IDLE_SECONDS + 1
        transient_blocks.free_idle_memory()
        assert machine.resident_bytes == used, "a slot in use keeps its memory"
        for entry in entries:
            transient_blocks.release(owner, entry)
        claim_and_release(machine, owner)
        machine.clock.now += IDLE_SECONDS
        transient_blocks.free_idle_memory()
        assert machine.resident_bytes == used, "not yet"
        machine.clock.now += 0.001
        transient_blocks.free_idle_memory()
        assert machine.resident_bytes == empty


def claim_and_release(machine: Machine, owner: FakeClaimant) -> None:
    """Claim, fill and release a block."""
    entry = claim(machine.transient_blocks, owner)
    fill(machine, entry)
    machine.transient_blocks.release(owner, entry)


def test_idle_memory_of_arrays_stays(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """Freeing the slots' memory does not change the arrays."""
    machine.grow(TEXT, 30_000)
    content = machine.content(TEXT)
    claim_and_release(machine, FakeClaimant())
    machine.clock.now += IDLE_SECONDS + 1
    transient_blocks.free_idle_memory()
    assert machine.content(TEXT) == content == b"".join(ELEMENTS[TEXT])[: len(content)]


def test_a_slot_is_used_again(machine: Machine, transient_blocks: TransientBlocks) -> None:
    """A slot whose memory was freed can be filled again."""
    owner = FakeClaimant()
    use_up_and_release(machine, owner)
    machine.clock.now += IDLE_SECONDS + 1
    transient_blocks.free_idle_memory()
    entry = claim(transient_blocks, owner, 700)
    fill(machine, entry)
    content = bytes(transient_blocks.bytes_between(entry, entry.offset, entry.end))
    assert content == b"".join(ELEMENTS[TEXT][700:716])


def use_up_and_release(machine: Machine, owner: FakeClaimant) -> None:
    """Claim, fill and release a block in every slot."""
    for entry in use_up(machine, owner):
        machine.transient_blocks.release(owner, entry)
