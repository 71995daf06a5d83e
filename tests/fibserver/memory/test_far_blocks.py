"""Far blocks: claims, waiting for slots, keeping and eviction."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fibcommon.formats import Format
from fibserver.memory import layout
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.far_block import FarBlock, Key, key_of
from fibserver.memory.far_blocks import (
    HELD_SECONDS,
    IDLE_SECONDS,
    MAX_CLAIMS,
    STALLED_SECONDS,
    USED_ONCE_DIVISOR,
    FarBlocks,
    slots_for,
)
from fibserver.memory.layout import pages
from tests.support.small_engine import (
    ARRAY,
    BLOCK_BYTES,
    ELEMENTS,
    JSON,
    MAX_INDEX,
    PAGE_BYTES,
    SMALL_BYTES,
    TEXT,
    Machine,
)

pytestmark = pytest.mark.usefixtures("small")

SLOTS = 4
MEMORY_LIMIT = 16 * PAGE_BYTES


class FakeClaimant:
    """A claimant that records its notifications.

    Attributes:
        progress: Number of calls of `on_progress`.
        failures: Arguments of the calls of `on_failure`.
        losses: The blocks on which it lost its claims.
        offers: Number of calls of `on_free_slot`.
    """

    def __init__(self) -> None:
        self.progress = 0
        self.failures: list[tuple[Block, str, str]] = []
        self.losses: list[FarBlock] = []
        self.offers = 0

    def on_progress(self) -> None:
        """Count the call."""
        self.progress += 1

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Record the failure."""
        self.failures.append((block, message, code))

    def on_claim_lost(self, block: FarBlock) -> None:
        """Record the loss."""
        self.losses.append(block)

    def on_free_slot(self) -> None:
        """Count the call."""
        self.offers += 1


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with few slots, and memory for as many blocks of a page as a test needs."""
    machine = Machine(MEMORY_LIMIT, SLOTS)
    yield machine
    machine.close()


@pytest.fixture
def far_blocks(machine: Machine) -> FarBlocks:
    """The machine's far blocks."""
    return machine.far_blocks


def claim(far_blocks: FarBlocks, claimant: FakeClaimant, start: int = 0) -> FarBlock:
    """Claim a new block of 16 elements."""
    claimed = far_blocks.claim(claimant, (TEXT, start, start + 16))
    assert claimed is not None
    block, is_new = claimed
    assert is_new
    return block


def large_key(number: int) -> Key:
    """Return the key of a block that is not small."""
    start = 1000 + 32 * number
    assert SMALL_BYTES < TEXT.offset(start + 32) - TEXT.offset(start) <= BLOCK_BYTES
    return TEXT, start, start + 32


def claim_large(far_blocks: FarBlocks, claimant: FakeClaimant, number: int) -> FarBlock | None:
    """Claim a new block that is not small; return it, or None if no slot is free."""
    claimed = far_blocks.claim(claimant, large_key(number))
    return claimed[0] if claimed else None


def fill(machine: Machine, block: FarBlock) -> None:
    """Fill a block."""
    machine.arena.fill(block.block)
    machine.far_blocks.block_finished(block.block)


def use_up(machine: Machine, claimant: FakeClaimant) -> list[FarBlock]:
    """Claim and fill a block in every slot."""
    blocks = [claim(machine.far_blocks, claimant, 16 * number) for number in range(SLOTS)]
    for block in blocks:
        fill(machine, block)
    return blocks


def use(machine: Machine, key: Key, *, is_kept: bool = True) -> bool:
    """Claim a block, fill it if it is new, send and release it; return whether it was new."""
    claimant = FakeClaimant()
    claimed = machine.far_blocks.claim(claimant, key, is_kept=is_kept)
    assert claimed is not None
    block, is_new = claimed
    if is_new:
        fill(machine, block)
    assert bytes(machine.far_blocks.bytes_between(block, block.offset, block.end)) == content(key)
    machine.far_blocks.release(claimant, block)
    machine.clock.now += 0.001
    return is_new


def content(key: Key) -> bytes:
    """Return the bytes of a block."""
    format, start, stop = key
    return b"".join(ELEMENTS[format][start:stop])


def bytes_of(machine: Machine, block: FarBlock) -> bytes:
    """Return the bytes at the position of a block."""
    return bytes(machine.arena.view(block.block))


def page_key(number: int) -> Key:
    """Return the key of a block of one page; number < 500."""
    start = 600 + number
    assert 0 < TEXT.offset(start + 16) - TEXT.offset(start) <= PAGE_BYTES
    return TEXT, start, start + 16


def pages_key(count: int) -> Key:
    """Return the key of a block of 2, 3 or 4 pages."""
    stop = 1000 + 19 * count - 1
    assert pages(TEXT.offset(stop) - TEXT.offset(1000)) == count * PAGE_BYTES
    return TEXT, 1000, stop


def numbers_in_memory(machine: Machine) -> list[int]:
    """Return the numbers of the blocks of one page that are in memory."""
    return [number for number in range(400) if machine.far_blocks.is_filled(page_key(number))]


def reuse(machine: Machine, number: int) -> None:
    """Use a block of one page twice."""
    use(machine, page_key(number))
    assert not use(machine, page_key(number))


def find(far_blocks: FarBlocks, key: Key) -> FarBlock:
    """Return a block that is in memory."""
    block = far_blocks.find(key)
    assert block is not None
    return block


# Claims.


def test_slots_for_workers() -> None:
    """There are four slots per worker, and at least eight."""
    assert [slots_for(workers) for workers in (1, 2, 3, 16)] == [8, 8, 12, 64]


def test_a_claimed_block_has_a_position_of_its_own(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """Each block has its own position, correct offsets and no index."""
    owner = FakeClaimant()
    blocks = [claim(far_blocks, owner, 16 * number) for number in range(SLOTS)]
    positions = {block.block.position for block in blocks}
    assert len(positions) == SLOTS
    assert positions <= set(machine.arena.layout.far_positions)
    for number, far_block in enumerate(blocks):
        block = far_block.block
        assert (block.start, block.stop) == (16 * number, 16 * number + 16)
        assert key_of(block) == (TEXT, 16 * number, 16 * number + 16)
        assert far_block.offset == TEXT.offset(block.start)
        assert far_block.end == TEXT.offset(block.stop)
        assert block.size == far_block.end - far_block.offset
        assert not block.is_resident
        assert not far_block.is_filled
    assert far_blocks.used_slots == SLOTS


def test_bytes_of_a_filled_block(machine: Machine, far_blocks: FarBlocks) -> None:
    """Bytes are addressed by their offsets among all elements."""
    owner = FakeClaimant()
    claim(far_blocks, owner, 500)
    block = claim(far_blocks, owner, 1000)
    fill(machine, block)
    assert block.is_filled
    expected = b"".join(ELEMENTS[TEXT][1000:1016])
    assert bytes(far_blocks.bytes_between(block, block.offset, block.end)) == expected
    part = far_blocks.bytes_between(block, block.offset + 10, block.offset + 30)
    assert bytes(part) == expected[10:30]


def test_claims_are_shared(machine: Machine, far_blocks: FarBlocks) -> None:
    """Claims of the same elements and format share one block, which is filled once."""
    one, other = FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, one)
    assert far_blocks.claim(other, (TEXT, 0, 16)) == (block, False)
    assert far_blocks.claim(other, (TEXT, 0, 17)) != (block, False)
    assert far_blocks.claim(other, (JSON, 0, 16)) != (block, False)
    fill(machine, block)
    assert one.progress == other.progress == 1
    late = FakeClaimant()
    assert far_blocks.claim(late, (TEXT, 0, 16)) == (block, False)
    assert late.progress == 0, "the block was filled before the claim"


def test_a_slot_is_free_when_all_have_let_go(machine: Machine, far_blocks: FarBlocks) -> None:
    """The last release of a block frees its slot; a second release has no effect."""
    one, other = FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, one)
    far_blocks.claim(other, (TEXT, 0, 16))
    fill(machine, block)
    far_blocks.release(one, block)
    far_blocks.release(one, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (1, 0)
    far_blocks.release(other, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (0, 1)
    far_blocks.release(other, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (0, 1)


def test_released_while_it_is_filled(machine: Machine, far_blocks: FarBlocks) -> None:
    """A released block keeps slot and position until the worker has filled it; then it is kept."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    far_blocks.release(owner, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (1, 0)
    others = [claim(far_blocks, owner, 16 * number) for number in range(1, SLOTS)]
    assert block.block.position not in {other.block.position for other in others}
    fill(machine, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (SLOTS - 1, 1)
    assert owner.progress == 0, "it has released the block"


def test_claimed_again_while_it_is_filled(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block without claimants can be claimed again until it is filled."""
    owner, late = FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, owner)
    far_blocks.release(owner, block)
    assert far_blocks.claim(late, (TEXT, 0, 16)) == (block, False)
    fill(machine, block)
    assert (owner.progress, late.progress) == (0, 1)
    assert far_blocks.used_slots == 1


def test_failure(far_blocks: FarBlocks) -> None:
    """A failed block frees its slot, its claimants are notified, and it can be claimed again."""
    one, other, stranger = FakeClaimant(), FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, one)
    far_blocks.claim(other, (TEXT, 0, 16))
    claim(far_blocks, stranger, 500)
    far_blocks.block_failed(block.block, "no room", "NOSPACE")
    assert one.failures == other.failures == [(block.block, "no room", "NOSPACE")]
    assert stranger.failures == []
    assert far_blocks.used_slots == 1
    claim(far_blocks, one)


def test_failure_without_claimants_frees_slot(far_blocks: FarBlocks) -> None:
    """The failure of a block without claimants frees its slot."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    far_blocks.release(owner, block)
    far_blocks.block_failed(block.block, "no room", "NOSPACE")
    assert far_blocks.used_slots == 0
    assert owner.failures == []


def test_no_slot(far_blocks: FarBlocks) -> None:
    """While all slots are being filled, a claim returns None and the claimant waits."""
    owner, late = FakeClaimant(), FakeClaimant()
    for number in range(SLOTS):
        claim(far_blocks, owner, 16 * number)
    assert not far_blocks.is_wanted
    assert far_blocks.claim(late, (TEXT, 500, 516)) is None
    assert far_blocks.is_wanted
    assert far_blocks.used_slots == SLOTS
    assert far_blocks.claim(late, (TEXT, 0, 16)) is not None, "an existing block needs no slot"
    assert not far_blocks.is_wanted


def test_free_slots_are_offered_in_the_order_of_waiting(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """Free slots are offered in order of arrival; claiming again does not change the order."""
    owner, first, second = FakeClaimant(), FakeClaimant(), FakeClaimant()
    blocks = use_up(machine, owner)
    for waiting in (first, second, first):
        assert far_blocks.claim(waiting, (TEXT, 500, 516)) is None
    far_blocks.release(owner, blocks[0])
    assert (first.offers, second.offers) == (1, 0)
    far_blocks.release(owner, blocks[1])
    assert (first.offers, second.offers) == (1, 1)
    assert not far_blocks.is_wanted
    far_blocks.release(owner, blocks[2])
    assert (first.offers, second.offers) == (1, 1)


def test_an_offer_that_was_of_no_use_is_repeated(machine: Machine, far_blocks: FarBlocks) -> None:
    """A claimant that finds no slot after an offer waits again and is offered another."""
    owner, waiting = FakeClaimant(), FakeClaimant()
    use_up(machine, owner)
    far_blocks.claim(waiting, (TEXT, 500, 516))
    far_blocks.wake_next_waiter()
    assert waiting.offers == 1
    far_blocks.wake_next_waiter()
    assert waiting.offers == 1, "it has not claimed again"
    far_blocks.claim(waiting, (TEXT, 500, 516))
    far_blocks.wake_next_waiter()
    assert waiting.offers == 2


def test_cancelled_wait(machine: Machine, far_blocks: FarBlocks) -> None:
    """A claimant that no longer waits is offered no slot; the next one is."""
    owner, gone, waiting = FakeClaimant(), FakeClaimant(), FakeClaimant()
    blocks = use_up(machine, owner)
    for claimant in (gone, waiting):
        far_blocks.claim(claimant, (TEXT, 500, 516))
    far_blocks.cancel_wait(gone)
    far_blocks.cancel_wait(FakeClaimant())
    far_blocks.release(owner, blocks[0])
    assert (gone.offers, waiting.offers) == (0, 1)


def test_fewer_claims_when_slots_run_short(machine: Machine, far_blocks: FarBlocks) -> None:
    """A reply may claim several blocks, but only one when few slots are free."""
    owner = FakeClaimant()
    assert far_blocks.max_claims == MAX_CLAIMS
    claim(far_blocks, owner)
    assert far_blocks.max_claims == 1, "the free slots are left for others"


def test_one_claim_while_somebody_waits(machine: Machine, far_blocks: FarBlocks) -> None:
    """Only one claim is allowed while a claimant waits, even if slots are free."""
    owner = FakeClaimant()
    blocks = use_up(machine, owner)
    for waiting in range(SLOTS + 1):
        far_blocks.claim(FakeClaimant(), (TEXT, 500 + waiting, 600))
    for block in blocks:
        far_blocks.release(owner, block)
    assert far_blocks.used_slots == 0
    assert far_blocks.is_wanted
    assert far_blocks.max_claims == 1
    far_blocks.wake_next_waiter()
    assert far_blocks.max_claims == MAX_CLAIMS


def test_slot_of_stalled_reader_is_freed(machine: Machine, far_blocks: FarBlocks) -> None:
    """A claimant that waits gets the slot of the block that was sent from longest ago."""
    owner, late = FakeClaimant(), FakeClaimant()
    blocks = use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS
    assert far_blocks.claim(late, (TEXT, 500, 516)) is None, "not yet"
    for block in (blocks[0], blocks[3], blocks[2]):
        machine.clock.now += 0.01
        far_blocks.bytes_between(block, block.offset, block.offset + 1)
    assert far_blocks.claim(late, (TEXT, 500, 516)) is not None
    assert owner.losses == [blocks[1]]
    assert far_blocks.used_slots == SLOTS
    machine.clock.now += STALLED_SECONDS + 0.001
    far_blocks.claim(late, (TEXT, 600, 616))
    assert owner.losses == [blocks[1], blocks[0]]


def test_slot_of_slow_reader_is_freed(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block that is sent slowly loses its claims too, after `HELD_SECONDS`."""
    owner, late = FakeClaimant(), FakeClaimant()
    blocks = use_up(machine, owner)
    end = machine.clock.now + HELD_SECONDS
    while machine.clock.now < end:
        for block in blocks:
            far_blocks.bytes_between(block, block.offset, block.offset + 1)
        assert far_blocks.claim(late, (TEXT, 500, 516)) is None
        machine.clock.now += STALLED_SECONDS / 2
    assert far_blocks.claim(late, (TEXT, 500, 516))
    assert owner.losses == [blocks[0]]


def test_some_slots_are_for_small_blocks(machine: Machine, far_blocks: FarBlocks) -> None:
    """A quarter of the slots is reserved for small blocks."""
    owner, large, small = FakeClaimant(), FakeClaimant(), FakeClaimant()
    blocks = [claim_large(far_blocks, owner, number) for number in range(SLOTS * 3 // 4)]
    assert all(blocks)
    assert claim_large(far_blocks, large, 9) is None
    assert far_blocks.claim(small, (TEXT, 0, 16)) is not None
    assert blocks[0] is not None
    fill(machine, blocks[0])
    far_blocks.release(owner, blocks[0])
    assert large.offers == 1
    assert claim_large(far_blocks, large, 9) is None, "the one free slot is for small blocks again"
    assert far_blocks.used_slots == SLOTS - 1


def test_a_large_block_takes_as_many_slots_from_the_stalled_as_needed(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """A large block may end the claims of several stalled small ones."""
    owner, large = FakeClaimant(), FakeClaimant()
    use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS + 0.01
    assert claim_large(far_blocks, large, 9)
    assert len(owner.losses) == 2


def test_small_blocks_are_offered_a_slot_first(machine: Machine, far_blocks: FarBlocks) -> None:
    """Claimants of small blocks are offered slots before those of large ones."""
    owner, large, small = FakeClaimant(), FakeClaimant(), FakeClaimant()
    blocks = use_up(machine, owner)
    assert claim_large(far_blocks, large, 9) is None
    assert far_blocks.claim(small, (TEXT, 500, 516)) is None
    far_blocks.release(owner, blocks[0])
    assert (large.offers, small.offers) == (0, 1)
    far_blocks.release(owner, blocks[1])
    assert (large.offers, small.offers) == (1, 1)
    for claimant in (large, small):
        claim_large(far_blocks, claimant, 9)
        far_blocks.cancel_wait(claimant)
    assert not far_blocks.is_wanted


def test_all_claimants_are_notified_of_the_loss(machine: Machine, far_blocks: FarBlocks) -> None:
    """All claimants of a block that loses its claims are notified, and may release it."""
    owner, other, late = FakeClaimant(), FakeClaimant(), FakeClaimant()
    first, *_ = use_up(machine, owner)
    far_blocks.claim(other, (TEXT, 0, 16))
    machine.clock.now += 1
    assert far_blocks.claim(late, (TEXT, 500, 516))
    assert owner.losses == other.losses == [first]
    for claimant in (owner, other):
        far_blocks.release(claimant, first)
    assert far_blocks.used_slots == SLOTS, "the late claimant has the slot now"


def test_block_being_filled_keeps_its_claims(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block that is being filled never loses its claims."""
    owner, late = FakeClaimant(), FakeClaimant()
    for number in range(SLOTS):
        claim(far_blocks, owner, 16 * number)
    machine.clock.now += 1000
    assert far_blocks.claim(late, (TEXT, 500, 516)) is None
    assert owner.losses == []


def test_claims_are_lost_only_when_slots_are_short(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """A stalled block keeps its claims while another slot is free."""
    owner, late = FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, owner)
    fill(machine, block)
    machine.clock.now += 1000
    claim(far_blocks, late, 500)
    assert owner.losses == []
    assert block.is_filled


# Keeping.


def test_a_released_block_is_found(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block without claims is kept, and a later claim needs no worker."""
    key = page_key(0)
    assert far_blocks.find(key) is None
    assert not far_blocks.is_filled(key)
    assert use(machine, key)
    block = find(far_blocks, key)
    assert far_blocks.is_filled(key)
    assert not block.was_reused
    assert far_blocks.found == 0
    for count in (1, 2):
        assert not use(machine, key)
        assert far_blocks.found == count
    assert far_blocks.find(key) is block
    assert block.was_reused
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (0, 1)
    assert far_blocks.used_bytes == machine.memory.used_bytes == PAGE_BYTES
    assert machine.memory.evictions == 0


def test_a_shared_claim_is_not_counted_as_found(machine: Machine, far_blocks: FarBlocks) -> None:
    """Only claims of blocks without other claims count as found."""
    one, other = FakeClaimant(), FakeClaimant()
    block = claim(far_blocks, one)
    assert far_blocks.find((TEXT, 0, 16)) is block
    assert not far_blocks.is_filled((TEXT, 0, 16))
    far_blocks.claim(other, (TEXT, 0, 16))
    fill(machine, block)
    assert far_blocks.claim(FakeClaimant(), (TEXT, 0, 16)) == (block, False)
    assert far_blocks.found == 0
    assert not block.was_reused


def test_a_block_not_worth_keeping(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block is kept only if a claim asked for that, and evicts no other if it is not."""
    for number in range(4):
        use(machine, page_key(number))
    assert use(machine, page_key(9), is_kept=False)
    assert numbers_in_memory(machine) == [0, 1, 2, 3]
    assert use(machine, page_key(9), is_kept=False), "it was not kept"
    assert machine.memory.evictions == 0
    assert far_blocks.found == 0


@pytest.mark.parametrize("wishes", [(True, False), (False, True)])
def test_one_claim_suffices_to_keep(machine: Machine, wishes: tuple[bool, bool]) -> None:
    """A block is kept if one of its claims asked for that, and later claims do not change it."""
    far_blocks = machine.far_blocks
    claimants = FakeClaimant(), FakeClaimant()
    for claimant, is_kept in zip(claimants, wishes, strict=True):
        far_blocks.claim(claimant, page_key(0), is_kept=is_kept)
    block = find(far_blocks, page_key(0))
    fill(machine, block)
    for claimant in claimants:
        far_blocks.release(claimant, block)
    assert not use(machine, page_key(0), is_kept=False)
    assert not use(machine, page_key(0), is_kept=False)


def test_a_failed_block_is_not_kept(machine: Machine, far_blocks: FarBlocks) -> None:
    """A failed block is not in memory, and its position is free."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    far_blocks.block_failed(block.block, "no room", "NOSPACE")
    far_blocks.release(owner, block)
    assert far_blocks.find((TEXT, 0, 16)) is None
    assert (far_blocks.kept_blocks, far_blocks.used_bytes) == (0, 0)
    again = claim(far_blocks, owner)
    assert again is not block
    far_blocks.release(owner, block)
    assert far_blocks.used_slots == 1, "only the failed block was released"
    fill(machine, again)
    assert owner.progress == 1


def test_blocks_used_once_have_a_share(machine: Machine, far_blocks: FarBlocks) -> None:
    """Blocks used once are kept in a quarter of the memory; the oldest gives way."""
    share = MEMORY_LIMIT // USED_ONCE_DIVISOR // PAGE_BYTES
    for number in range(10):
        use(machine, page_key(number))
        assert numbers_in_memory(machine) == [*range(max(0, number + 1 - share), number + 1)]
    assert machine.memory.evictions == 0, "blocks that were used once are not missed"
    assert far_blocks.used_bytes == share * PAGE_BYTES


def test_the_share_is_exact() -> None:
    """A block that fills the share exactly is kept; a larger one is not, and evicts nothing."""
    for limit, is_kept in ((12 * PAGE_BYTES, True), (12 * PAGE_BYTES - 1, False)):
        machine = Machine(limit, SLOTS)
        use(machine, page_key(0))
        use(machine, pages_key(3))
        assert machine.far_blocks.is_filled(pages_key(3)) == is_kept
        assert machine.far_blocks.is_filled(page_key(0)) != is_kept
        assert machine.memory.evictions == 0
        machine.close()


def test_blocks_used_again_survive_a_scan(machine: Machine, far_blocks: FarBlocks) -> None:
    """A scan of more than all memory evicts no block that was used again."""
    for number in range(12):
        reuse(machine, number)
    for number in range(12, 60):
        use(machine, page_key(number))
        assert machine.memory.used_bytes <= MEMORY_LIMIT
    assert numbers_in_memory(machine) == [*range(12), *range(56, 60)]
    assert machine.memory.used_bytes == MEMORY_LIMIT


def test_a_scan_takes_no_more_than_its_share(machine: Machine) -> None:
    """If blocks used again fill the memory, a scan evicts the oldest quarter of them."""
    for number in range(16):
        reuse(machine, number)
    assert machine.memory.used_bytes == MEMORY_LIMIT
    for number in range(16, 60):
        use(machine, page_key(number))
    assert numbers_in_memory(machine) == [*range(4, 16), *range(56, 60)]


def test_blocks_used_again_leave_the_share_alone(machine: Machine, far_blocks: FarBlocks) -> None:
    """Keeping a block that was used again evicts none of the others while memory is free."""
    reuse(machine, 0)
    owner = FakeClaimant()
    claimed = far_blocks.claim(owner, page_key(0))
    assert claimed is not None
    for number in range(1, 5):
        use(machine, page_key(number))
    far_blocks.release(owner, claimed[0])
    assert numbers_in_memory(machine) == [0, 1, 2, 3, 4]


def test_the_block_unused_for_longest_is_evicted(machine: Machine) -> None:
    """Among blocks used again, the least recently used one gives way."""
    for number in range(16):
        reuse(machine, number)
    use(machine, page_key(0))
    use(machine, page_key(2))
    for number in (16, 17):
        reuse(machine, number)
    assert numbers_in_memory(machine) == [0, 2, *range(4, 18)]


def test_many_small_blocks_give_way_to_a_large_one(machine: Machine) -> None:
    """As many blocks are evicted as one needs, and no more."""
    use(machine, pages_key(3))
    use(machine, pages_key(3))
    for number in range(13):
        reuse(machine, number)
    assert machine.memory.evictions == 0
    use(machine, pages_key(2))
    assert not machine.far_blocks.is_filled(pages_key(3)), "it is the oldest"
    assert numbers_in_memory(machine) == [*range(13)]
    assert machine.memory.evictions == 1


@pytest.mark.parametrize("limit", [1, PAGE_BYTES, USED_ONCE_DIVISOR * PAGE_BYTES - 1])
def test_without_memory_for_one_block(limit: int) -> None:
    """If memory is too small to keep a block, all blocks are computed each time."""
    machine = Machine(limit, SLOTS)
    empty = machine.resident_bytes
    for _ in range(3):
        for number in range(6):
            assert use(machine, page_key(number))
            assert machine.far_blocks.kept_blocks == machine.memory.used_bytes == 0
    owner = FakeClaimant()
    for block in use_up(machine, owner):
        machine.far_blocks.release(owner, block)
    assert (machine.far_blocks.found, machine.memory.evictions) == (0, 0)
    assert machine.resident_bytes <= empty + SLOTS * BLOCK_BYTES
    machine.close()


# Arrays and kept blocks.


def fill_array(machine: Machine, format: Format) -> None:
    """Let an array grow as far as it can, evicting what may be evicted."""
    array = machine.arrays[format]
    while (block := array.next_block(MAX_INDEX)) is not None:
        machine.complete(Task(Action.FILL, block))
        machine.clock.now += 0.001


def test_a_growing_array_evicts_kept_blocks(machine: Machine, far_blocks: FarBlocks) -> None:
    """An array that grows evicts kept blocks, the oldest first, instead of its own."""
    for number in range(8):
        reuse(machine, number)
    array = machine.arrays[JSON]
    left = [*range(8)]
    while (block := array.next_block(MAX_INDEX)) is not None:
        machine.complete(Task(Action.FILL, block))
        before, left = left, numbers_in_memory(machine)
        assert left == before[len(before) - len(left) :], "the oldest gave way"
        assert machine.memory.used_bytes <= MEMORY_LIMIT
    assert array.used_bytes > MEMORY_LIMIT - BLOCK_BYTES
    assert machine.memory.evictions == 8 - len(left) > 4
    assert machine.content(JSON) == b"".join(ELEMENTS[JSON][: array.growth.published])


def test_a_kept_block_evicts_the_tail_of_an_array(machine: Machine) -> None:
    """An array that was not used for longest gives up its tail for a kept block."""
    fill_array(machine, JSON)
    array = machine.arrays[JSON]
    frontier = array.growth.frontier
    use(machine, pages_key(4))
    assert machine.far_blocks.is_filled(pages_key(4))
    assert array.growth.frontier < frontier
    assert machine.memory.evictions == 1
    assert machine.memory.used_bytes <= MEMORY_LIMIT
    assert machine.content(JSON) == b"".join(ELEMENTS[JSON][: array.growth.published])


def test_a_kept_block_spares_what_a_reply_reads(machine: Machine) -> None:
    """If replies read all of the arrays, a block is not kept."""
    fill_array(machine, JSON)
    array = machine.arrays[JSON]
    frontier = array.growth.frontier

    class Reader(FakeClaimant):
        """A reader of the whole array."""

        array_stop = MAX_INDEX

    reader = Reader()
    array.add_reader(reader)
    assert use(machine, pages_key(4))
    assert machine.far_blocks.kept_blocks == 0
    array.discard_reader(reader)
    assert use(machine, pages_key(4))
    assert machine.far_blocks.kept_blocks == 1
    assert array.growth.frontier < frontier


@pytest.mark.parametrize("is_array_older", [True, False])
def test_arrays_and_kept_blocks_give_way_by_age(machine: Machine, is_array_older: bool) -> None:
    """Of an array and a kept block, the one that was used longest ago gives way to a third."""
    machine.grow(JSON, 9 * PAGE_BYTES)
    array = machine.arrays[JSON]
    for number in range(2):
        reuse(machine, number)
    machine.clock.now += 1
    if not is_array_older:
        array.touch(MAX_INDEX)
    frontier = array.growth.frontier
    assert machine.memory.make_room(MEMORY_LIMIT - machine.memory.used_bytes + 1)
    assert (array.growth.frontier < frontier) == is_array_older
    assert numbers_in_memory(machine) == ([0, 1] if is_array_older else [1])
    assert machine.memory.evictions == 1


# What is never evicted.


def test_a_claimed_block_is_not_evicted(machine: Machine, far_blocks: FarBlocks) -> None:
    """Neither a scan nor a growing array evicts a block that a reply sends."""
    reuse(machine, 0)
    owner = FakeClaimant()
    claimed = far_blocks.claim(owner, page_key(0))
    assert claimed is not None
    block, is_new = claimed
    assert not is_new
    assert far_blocks.used_bytes == 0, "a claimed block is not a kept one"
    for number in range(1, 50):
        reuse(machine, number)
    fill_array(machine, JSON)
    assert machine.memory.make_room(MEMORY_LIMIT)
    assert far_blocks.kept_blocks == machine.memory.used_bytes == 0
    sent = far_blocks.bytes_between(block, block.offset, block.end)
    assert bytes(sent) == content(page_key(0))
    assert far_blocks.find(page_key(0)) is block
    assert owner.losses == []


def test_a_pinned_block_is_not_evicted(machine: Machine, far_blocks: FarBlocks) -> None:
    """A pinned block and its position stay; unpinned, it is the next to give way."""
    use(machine, page_key(0))
    block = find(far_blocks, page_key(0))
    block.pins = 1
    for number in range(1, 50):
        use(machine, page_key(number))
    assert numbers_in_memory(machine) == [0, 47, 48, 49]
    for number in range(1, 50):
        reuse(machine, number)
        other = find(far_blocks, page_key(number))
        assert other.block.position != block.block.position
    fill_array(machine, JSON)
    assert numbers_in_memory(machine) == [0]
    assert machine.memory.used_bytes <= MEMORY_LIMIT
    assert bytes_of(machine, block) == content(page_key(0))
    block.pins = 0
    use(machine, page_key(1))
    assert numbers_in_memory(machine) == [1]


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_pinned_block_is_kept_without_memory_for_it(is_kept: bool) -> None:
    """A pinned block stays after its last release, although it is not worth keeping."""
    machine = Machine(PAGE_BYTES, SLOTS)
    far_blocks, owner = machine.far_blocks, FakeClaimant()
    claimed = far_blocks.claim(owner, page_key(0), is_kept=is_kept)
    assert claimed is not None
    block, _ = claimed
    fill(machine, block)
    block.pins = 1
    far_blocks.release(owner, block)
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (0, 1)
    for number in range(1, 20):
        assert use(machine, page_key(number))
    assert bytes_of(machine, block) == content(page_key(0))
    block.pins = 0
    assert machine.memory.make_room(PAGE_BYTES)
    assert far_blocks.kept_blocks == 0
    machine.close()


def test_a_pinned_block_loses_stalled_claims(machine: Machine, far_blocks: FarBlocks) -> None:
    """Saving a block does not let stalled clients occupy its slot."""
    owner = FakeClaimant()
    blocks = use_up(machine, owner)
    blocks[0].pins = 1
    machine.clock.now += STALLED_SECONDS + 0.01
    assert far_blocks.claim(FakeClaimant(), (TEXT, 500, 516)) is not None
    assert owner.losses == [blocks[0]]
    assert far_blocks.find((TEXT, 0, 16)) is blocks[0]


# Stalled readers.


def test_the_block_of_a_stalled_reader_is_found_again(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """A block that lost its claims is kept, and is found when its reader resumes."""
    owner, late = FakeClaimant(), FakeClaimant()
    first, *others = use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS + 0.01
    assert far_blocks.claim(late, (TEXT, 500, 516))
    assert owner.losses == [first]
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (SLOTS, 1)
    far_blocks.release(owner, first)
    assert far_blocks.kept_blocks == 1, "releasing a lost claim has no effect"
    far_blocks.release(owner, others[0])
    assert far_blocks.claim(owner, (TEXT, 0, 16)) == (first, False)
    sent = far_blocks.bytes_between(first, first.offset, first.end)
    assert bytes(sent) == content((TEXT, 0, 16))
    assert far_blocks.found == 1


def test_a_late_release_of_a_lost_claim(machine: Machine, far_blocks: FarBlocks) -> None:
    """A reply that lost its claim does not release that of another reply."""
    owner, late, other = FakeClaimant(), FakeClaimant(), FakeClaimant()
    first, second, *_ = use_up(machine, owner)
    machine.clock.now += STALLED_SECONDS + 0.01
    assert far_blocks.claim(late, (TEXT, 500, 516))
    assert first.claimants == {}
    far_blocks.release(owner, second)
    assert far_blocks.claim(other, (TEXT, 0, 16)) == (first, False)
    far_blocks.release(owner, first)
    assert first.claimants == {other: None}
    assert far_blocks.used_slots == SLOTS


def test_a_block_found_again_is_not_stalled(machine: Machine, far_blocks: FarBlocks) -> None:
    """A claim of a kept block counts as its use, however long ago it was filled."""
    use(machine, page_key(0))
    machine.clock.now += 1000
    owner = FakeClaimant()
    far_blocks.claim(owner, page_key(0))
    for number in range(SLOTS - 1):
        claim(far_blocks, owner, 16 * number)
    assert far_blocks.claim(FakeClaimant(), page_key(1)) is None
    assert owner.losses == []


def test_a_claim_does_not_evict_its_own_block() -> None:
    """A kept block is found even if its claim has to end stalled claims first.

    A stream that sees the block in memory relies on that: it queues no task to fill it.
    """
    machine = Machine(USED_ONCE_DIVISOR * PAGE_BYTES, SLOTS)  # keeps one block that was used once
    try:
        use(machine, page_key(0))
        use_up(machine, FakeClaimant())
        machine.clock.now += STALLED_SECONDS + 0.01
        assert machine.far_blocks.is_filled(page_key(0))
        claimed = machine.far_blocks.claim(FakeClaimant(), page_key(0))
        assert claimed is not None
        block, is_new = claimed
        assert not is_new
        assert block.is_filled
    finally:
        machine.close()


def test_unpinned_block_keeps_to_the_limit(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block that was kept although memory was full is evicted when its pin is removed."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    fill(machine, block)
    block.pins = 1
    machine.memory.limit_bytes = 0
    far_blocks.release(owner, block)
    assert (far_blocks.kept_blocks, machine.memory.used_bytes > 0) == (1, True)
    far_blocks.unpin(block)
    assert (far_blocks.kept_blocks, machine.memory.used_bytes) == (0, 0)


def test_unpinned_block_stays_within_the_limit(machine: Machine, far_blocks: FarBlocks) -> None:
    """A block for which there is memory is kept when its pin is removed."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    fill(machine, block)
    block.pins = 1
    far_blocks.release(owner, block)
    far_blocks.unpin(block)
    assert far_blocks.kept_blocks == 1


# Positions and pages.


def test_the_pages_of_a_large_block_are_freed(machine: Machine) -> None:
    """A small block in the position of a large one gives back the pages that it does not need."""
    empty = machine.resident_bytes
    use(machine, pages_key(4), is_kept=False)
    assert machine.resident_bytes == empty + 4 * PAGE_BYTES
    use(machine, page_key(0))
    assert machine.resident_bytes == empty + PAGE_BYTES
    assert machine.far_blocks.used_bytes == PAGE_BYTES
    assert not use(machine, page_key(0)), "its own page stays"


def test_a_few_surplus_pages_stay_and_count(machine: Machine) -> None:
    """A block keeps up to as many pages as it needs itself in addition, and they count."""
    empty = machine.resident_bytes
    use(machine, pages_key(2), is_kept=False)
    use(machine, page_key(0))
    assert machine.resident_bytes == empty + 2 * PAGE_BYTES
    assert machine.far_blocks.used_bytes == 2 * PAGE_BYTES
    assert not use(machine, page_key(0))


def test_an_evicted_position_is_used_again(machine: Machine) -> None:
    """The pages of an evicted block serve the next one."""
    for number in range(5):
        use(machine, page_key(number))
    resident = machine.resident_bytes
    for number in range(5, 40):
        use(machine, page_key(number))
        assert machine.resident_bytes == resident


def test_pages_that_are_counted_are_all_pages(machine: Machine, far_blocks: FarBlocks) -> None:
    """After an idle period, the memory taken is what the kept blocks count."""
    empty = machine.resident_bytes
    random = Random(2)
    for _ in range(200):
        start = random.randrange(MAX_INDEX - 40)
        use(machine, (TEXT, start, start + random.choice([1, 2, 8, 16, 32])))
        if random.random() < 0.3:
            reuse(machine, random.randrange(20))
    machine.clock.now += IDLE_SECONDS + 1
    far_blocks.free_idle_memory()
    assert far_blocks.kept_blocks > 4
    assert machine.resident_bytes == empty + far_blocks.used_bytes


def test_idle_memory_is_given_back(machine: Machine, far_blocks: FarBlocks) -> None:
    """Pages without a block are freed when no block was claimed for `IDLE_SECONDS`."""
    empty = machine.resident_bytes
    for _ in range(2):
        owner = FakeClaimant()
        for number in range(SLOTS):
            far_blocks.claim(owner, page_key(number), is_kept=False)
        blocks = [find(far_blocks, page_key(number)) for number in range(SLOTS)]
        for block in blocks:
            fill(machine, block)
        used = machine.resident_bytes
        assert used == empty + SLOTS * PAGE_BYTES
        machine.clock.now += IDLE_SECONDS + 1
        far_blocks.free_idle_memory()
        assert machine.resident_bytes == used, "a claimed block keeps its memory"
        for block in blocks:
            far_blocks.release(owner, block)
        use(machine, page_key(9), is_kept=False)
        machine.clock.now += IDLE_SECONDS - 0.001
        far_blocks.free_idle_memory()
        assert machine.resident_bytes == used, "not yet"
        machine.clock.now += 0.001
        far_blocks.free_idle_memory()
        assert machine.resident_bytes == empty


def test_spare_pages_stay_while_blocks_are_claimed(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """As long as a reply sends a block, it is expected to need the pages for the next ones."""
    owner = FakeClaimant()
    block = claim(far_blocks, owner)
    fill(machine, block)
    use(machine, page_key(0), is_kept=False)
    used = machine.resident_bytes
    machine.clock.now += IDLE_SECONDS + 1
    far_blocks.free_idle_memory()
    assert machine.resident_bytes == used


def test_kept_blocks_and_arrays_outlast_idle_periods(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """Freeing pages without a block changes neither kept blocks nor arrays."""
    machine.grow(TEXT, 30_000)
    array_bytes = machine.content(TEXT)
    use(machine, page_key(1), is_kept=False)
    use(machine, pages_key(4), is_kept=False)
    reuse(machine, 0)
    use(machine, pages_key(4), is_kept=False)
    machine.clock.now += IDLE_SECONDS + 1
    far_blocks.free_idle_memory()
    assert machine.content(TEXT) == array_bytes == b"".join(ELEMENTS[TEXT])[: len(array_bytes)]
    assert not use(machine, page_key(0))
    assert use(machine, page_key(1)), "a freed position can be filled again"


def test_no_more_pages_are_spare_than_slots_are_free(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """Positions without a block keep pages for as many blocks as may be claimed."""
    empty = machine.resident_bytes
    for number in range(16):
        reuse(machine, number)
    assert machine.resident_bytes == empty + MEMORY_LIMIT
    while machine.far_blocks.kept_blocks:
        far_blocks.evict_oldest()
    assert machine.resident_bytes == empty + SLOTS * PAGE_BYTES


def test_claims_of_kept_blocks_leave_fewer_pages_spare(
    machine: Machine, far_blocks: FarBlocks
) -> None:
    """Claimed blocks and spare pages together take the memory of the slots, and no more."""
    empty = machine.resident_bytes
    for number in range(SLOTS * 2):
        reuse(machine, number)
    for _ in range(SLOTS):
        far_blocks.evict_oldest()
    owner = FakeClaimant()
    for number in range(SLOTS, SLOTS * 2):
        assert far_blocks.claim(owner, page_key(number))
    assert (far_blocks.used_slots, far_blocks.kept_blocks) == (SLOTS, 0)
    assert machine.resident_bytes <= empty + (SLOTS + 1) * PAGE_BYTES


@pytest.fixture
def few_positions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with positions for two blocks more than there are slots."""
    monkeypatch.setattr(layout, "MAX_KEPT_BLOCKS", 2)
    machine = Machine(MEMORY_LIMIT, SLOTS)
    assert len(machine.arena.layout.far_positions) == SLOTS + 2
    yield machine
    machine.close()


def test_positions_run_out(few_positions: Machine) -> None:
    """If no position is free, the oldest kept block gives up its own."""
    machine = few_positions
    for number in range(20):
        reuse(machine, number)
        expected = [*range(max(0, number + 1 - SLOTS - 2), number + 1)]
        assert numbers_in_memory(machine) == expected
    owner = FakeClaimant()
    blocks = use_up(machine, owner)
    assert numbers_in_memory(machine) == [18, 19]
    kept = [find(machine.far_blocks, page_key(number)) for number in (18, 19)]
    positions = {block.block.position for block in [*blocks, *kept]}
    assert positions == set(machine.arena.layout.far_positions)
    for block in blocks:
        machine.far_blocks.release(owner, block)
    assert machine.memory.evictions == 18


def test_freed_positions_are_used_again(few_positions: Machine) -> None:
    """Positions whose pages were freed do not run out."""
    for number in range(20):
        use(few_positions, page_key(number), is_kept=False)
        few_positions.clock.now += IDLE_SECONDS + 1
        few_positions.far_blocks.free_idle_memory()
    for number in range(4):
        use(few_positions, page_key(number))
    assert numbers_in_memory(few_positions) == [0, 1, 2, 3]


def test_a_pinned_block_keeps_its_position(few_positions: Machine) -> None:
    """If no position is free, a pinned block keeps its own."""
    machine = few_positions
    use(machine, page_key(0))
    block = find(machine.far_blocks, page_key(0))
    block.pins = 1
    for number in range(1, 20):
        reuse(machine, number)
    assert numbers_in_memory(machine) == [0, *range(15, 20)]
    use_up(machine, FakeClaimant())
    assert numbers_in_memory(machine) == [0, 19]
    assert bytes_of(machine, block) == content(page_key(0))


def test_blocks_used_again_survive_a_scan_if_positions_are_short(few_positions: Machine) -> None:
    """A scan of small blocks evicts no block that was used again, although memory is free."""
    for number in range(SLOTS):
        reuse(few_positions, number)
    for number in range(SLOTS, 20):
        use(few_positions, page_key(number))
    assert numbers_in_memory(few_positions)[:SLOTS] == [*range(SLOTS)]


# Everything at once.

KEYS: list[Key] = [
    *((format, start, start + 1) for format in (TEXT, JSON) for start in (300, 1900)),
    *((TEXT, start, start + 16) for start in range(500, 580, 16)),
    *((JSON, start, start + 32) for start in (900, 932)),
    *((ARRAY, start, start + 32) for start in (1800, 1832)),
]
"""Keys of blocks from some bytes to four pages."""


class OwningClaimant(FakeClaimant):
    """A claimant that knows its claims, as a stream does.

    Attributes:
        claims: The blocks that it has claimed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[FarBlock] = []

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Forget the claim."""
        self.claims = [claimed for claimed in self.claims if claimed.block != block]

    def on_claim_lost(self, block: FarBlock) -> None:
        """Forget the claim."""
        self.claims.remove(block)


class UsedMemory(RuleBasedStateMachine):
    """Random claims, outcomes, releases, pins, evictions and growing arrays."""

    @initialize(limit_pages=st.sampled_from([1, 3, 8, 24, 64]), kept=st.sampled_from([1, 4, 1024]))
    def start(self, limit_pages: int, kept: int) -> None:
        """Start with empty memory."""
        self.limit = limit_pages * PAGE_BYTES
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layout, "MAX_KEPT_BLOCKS", kept)
            self.machine = Machine(self.limit, SLOTS)
        self.far_blocks = self.machine.far_blocks
        self.empty_bytes = self.machine.resident_bytes
        self.claimants = [OwningClaimant() for _ in range(3)]
        self.unfilled: list[FarBlock] = []
        self.pinned: FarBlock | None = None
        self.were_pinned: list[FarBlock] = []
        self.found = 0

    def teardown(self) -> None:
        """Free the memory."""
        if hasattr(self, "machine"):
            self.machine.close()

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), is_kept=st.booleans())
    def claim(self, number: int, key: Key, is_kept: bool) -> None:
        """Claim a block, which may be in memory, in flight or new."""
        claimant = self.claimants[number]
        if any(key_of(claimed.block) == key for claimed in claimant.claims):
            return
        before = self.far_blocks.find(key)
        was_kept = before is not None and before.is_filled and not before.claimants
        claimed = self.far_blocks.claim(claimant, key, is_kept=is_kept)
        if claimed is None:
            assert self.far_blocks.is_wanted
            return
        block, is_new = claimed
        assert key_of(block.block) == key
        assert not (is_new and block.is_filled)
        claimant.claims.append(block)
        if is_new:
            assert before is None or was_kept
            self.unfilled.append(block)
        else:
            assert block is before
            self.found += was_kept
        assert self.far_blocks.found == self.found

    @precondition(lambda self: self.unfilled)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Fill a block."""
        block = data.draw(st.sampled_from(self.unfilled))
        self.unfilled.remove(block)
        fill(self.machine, block)

    @precondition(lambda self: self.unfilled)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Report a block as failed."""
        block = data.draw(st.sampled_from(self.unfilled))
        self.unfilled.remove(block)
        self.far_blocks.block_failed(block.block, "no room", "NOSPACE")

    @rule(number=st.integers(0, 2), data=st.data())
    def release(self, number: int, data: st.DataObject) -> None:
        """Release a claim."""
        claimant = self.claimants[number]
        if claimant.claims:
            block = data.draw(st.sampled_from(claimant.claims))
            claimant.claims.remove(block)
            self.far_blocks.release(claimant, block)

    @rule(number=st.integers(0, 2))
    def send(self, number: int) -> None:
        """Send from all claimed blocks that are filled."""
        for block in self.claimants[number].claims:
            if block.is_filled:
                view = self.far_blocks.bytes_between(block, block.offset, block.end)
                assert bytes(view) == content(key_of(block.block))

    @rule(key=st.sampled_from(KEYS))
    def pin(self, key: Key) -> None:
        """Unpin the pinned block, and pin another if it is in memory."""
        if self.pinned is not None:
            self.pinned.pins = 0
        block = self.far_blocks.find(key)
        self.pinned = block if block is not None and block.is_filled else None
        if self.pinned is not None:
            self.pinned.pins = 1
            self.were_pinned.append(self.pinned)

    @rule(format=st.sampled_from([TEXT, JSON]))
    def grow_array(self, format: Format) -> None:
        """Let an array grow by a block."""
        block = self.machine.arrays[format].next_block(MAX_INDEX)
        if block is not None:
            assert self.machine.memory.used_bytes <= self.limit, "even after pinned blocks"
            self.machine.complete(Task(Action.FILL, block))

    @rule(seconds=st.sampled_from([0.01, STALLED_SECONDS * 2, IDLE_SECONDS * 2]))
    def wait(self, seconds: float) -> None:
        """Let time pass, and free idle memory."""
        self.machine.clock.now += seconds
        self.far_blocks.free_idle_memory()

    @invariant()
    def all_bytes_are_right(self) -> None:
        """Every block in memory has its own bytes, whatever happened to others."""
        for key in KEYS:
            block = self.far_blocks.find(key)
            if block is not None and block.is_filled:
                assert bytes_of(self.machine, block) == content(key)
        for format in (TEXT, JSON):
            published = self.machine.arrays[format].growth.published
            assert self.machine.content(format) == b"".join(ELEMENTS[format][:published])

    @invariant()
    def every_block_has_a_position(self) -> None:
        """No position is used twice, and none lies elsewhere."""
        positions = [block.block.position for block in self.blocks]
        assert len(set(positions)) == len(positions)
        assert set(positions) <= set(self.machine.arena.layout.far_positions)

    @invariant()
    def claimed_and_pinned_blocks_stay(self) -> None:
        """A block is in memory as long as a reply, a worker or the snapshot needs it."""
        for claimant in self.claimants:
            for block in claimant.claims:
                assert self.far_blocks.find(key_of(block.block)) is block
                assert claimant in block.claimants
        for block in [*self.unfilled, *([self.pinned] if self.pinned else [])]:
            assert self.far_blocks.find(key_of(block.block)) is block

    @invariant()
    def counts_are_right(self) -> None:
        """Slots are used by claimed blocks, and memory by kept ones."""
        claimed = [block for block in self.blocks if block.claimants or not block.is_filled]
        kept = [block for block in self.blocks if block not in claimed]
        assert self.far_blocks.used_slots == len(claimed) <= SLOTS
        assert self.far_blocks.kept_blocks == len(kept)
        assert self.far_blocks.used_bytes == sum(block.allocated_bytes for block in kept)
        for block in kept:
            assert pages(block.block.size) <= block.allocated_bytes <= 2 * pages(block.block.size)

    @invariant()
    def limits_are_kept(self) -> None:
        """Arrays and kept blocks keep to the limit; all else is bounded by the slots."""
        memory = self.machine.memory
        # A block that was pinned when its last claim was released is kept in any case.
        excess = memory.used_bytes - self.limit
        assert excess <= sum(
            block.allocated_bytes for block in self.blocks if block in self.were_pinned
        )
        pages_of_index = sum(
            pages(8 * (array.growth.frontier + 1)) + 2 * PAGE_BYTES
            for array in self.machine.arrays
            if array.growth.frontier
        )
        bound = memory.used_bytes + pages_of_index + (2 * SLOTS + 1) * BLOCK_BYTES
        assert self.machine.resident_bytes - self.empty_bytes <= bound

    @property
    def blocks(self) -> list[FarBlock]:
        """All blocks, claimed or kept."""
        found = map(self.far_blocks.find, KEYS)
        return [block for block in found if block is not None]


TestUsedMemory = UsedMemory.TestCase
TestUsedMemory.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
