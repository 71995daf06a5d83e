"""The order in which kept blocks are evicted."""

from itertools import product

import pytest

from fibcommon.formats import FORMATS
from fibserver.memory.blocks import NO_BLOCK
from fibserver.memory.far_block import FarBlock, Key
from fibserver.memory.kept_blocks import KeptBlocks

A, B, C, D = ((FORMATS["text"], n, n + 1) for n in range(4))


def used(allocated_bytes: int = 1, last_use: float = 0.0, was_reused: bool = False) -> FarBlock:
    """Return a block with what the order of eviction depends on."""
    far_block = FarBlock(NO_BLOCK, 0, allocated_bytes)
    far_block.last_use = last_use
    far_block.was_reused = was_reused
    return far_block


@pytest.fixture
def kept() -> KeptBlocks:
    """No blocks."""
    return KeptBlocks()


def test_no_blocks(kept: KeptBlocks) -> None:
    """Without blocks there is nothing to evict."""
    assert len(kept) == 0
    assert A not in kept
    assert kept.get(A) is None
    assert kept.pop(A) is None
    assert kept.oldest is None
    assert kept.oldest_used_once is None
    assert (kept.used_once_bytes, kept.reused_bytes) == (0, 0)


def test_sizes(kept: KeptBlocks) -> None:
    """The sizes of both queues are counted apart."""
    kept.add(A, used(3))
    kept.add(B, used(5))
    kept.add(C, used(7, was_reused=True))
    assert (kept.used_once_bytes, kept.reused_bytes) == (8, 7)
    kept.pop(A)
    kept.pop(C)
    assert (kept.used_once_bytes, kept.reused_bytes) == (5, 0)
    assert kept.pop(A) is None
    assert (kept.used_once_bytes, kept.reused_bytes) == (5, 0)


def test_the_oldest_of_both_queues(kept: KeptBlocks) -> None:
    """The block used longest ago is evicted first, whichever queue it is in."""
    for time, (key, was_reused) in enumerate([(A, True), (B, False), (C, True), (D, False)]):
        kept.add(key, used(1, time, was_reused))
    order = []
    while (key_to_evict := kept.oldest) is not None:
        order.append(key_to_evict)
        kept.pop(key_to_evict)
    assert order == [A, B, C, D]


def test_the_oldest_used_once(kept: KeptBlocks) -> None:
    """Blocks used once can be evicted although blocks used again are older."""
    kept.add(A, used(1, 1, was_reused=True))
    kept.add(B, used(1, 2))
    kept.add(C, used(1, 3))
    assert (kept.oldest, kept.oldest_used_once) == (A, B)
    kept.pop(B)
    assert (kept.oldest, kept.oldest_used_once) == (A, C)
    kept.pop(C)
    assert (kept.oldest, kept.oldest_used_once) == (A, None)


@pytest.mark.parametrize("was_reused", [False, True])
def test_pinned_blocks_are_passed_over(kept: KeptBlocks, was_reused: bool) -> None:
    """A pinned block is not evicted, but counts, and is evicted in its turn once unpinned."""
    blocks = {key: used(1, time, was_reused) for time, key in enumerate((A, B, C))}
    for key, block in blocks.items():
        kept.add(key, block)
    blocks[A].pins = 1
    assert kept.oldest == B
    kept.pop(B)
    kept.pop(C)
    assert kept.oldest is kept.oldest_used_once is None
    assert kept.used_once_bytes + kept.reused_bytes == len(kept) == 1
    blocks[A].pins = 0
    assert kept.oldest == A


def test_a_block_used_again_moves_to_the_other_queue(kept: KeptBlocks) -> None:
    """A block that is removed, used and added again is the last to be evicted."""
    for time, key in enumerate((A, B)):
        kept.add(key, used(1, time))
    block = kept.pop(A)
    assert block is not None
    block.was_reused, block.last_use = True, 2
    kept.add(A, block)
    assert kept.get(A) is block
    assert (kept.used_once_bytes, kept.reused_bytes) == (1, 1)
    assert kept.oldest == B


KEYS = (A, B, C)
STEPS = [*product(("once", "reused", "pop", "pin"), KEYS), ("evict", A)]
"""What may happen: adding, removing and pinning a block, and evicting the oldest."""


def test_every_short_history() -> None:
    """After any four steps the queues, their sizes and their order are right."""
    for history in product(STEPS, repeat=4):
        kept = KeptBlocks()
        model: dict[Key, FarBlock] = {}  # in the order of the last use
        for time, (step, key) in enumerate(history):
            if step in ("once", "reused") and key not in model:
                size = 1 + KEYS.index(key)
                model[key] = used(size, time, step == "reused")
                kept.add(key, model[key])
            elif step == "pop":
                assert kept.pop(key) is model.pop(key, None)
            elif step == "pin" and key in model:
                model[key].pins = 1 - model[key].pins
            elif step == "evict" and (oldest := kept.oldest) is not None:
                assert kept.pop(oldest) is model.pop(oldest)
            assert_same(kept, model)


def assert_same(kept: KeptBlocks, model: dict[Key, FarBlock]) -> None:
    """Assert that the kept blocks are those of the model."""
    assert len(kept) == len(model)
    for key in KEYS:
        assert (key in kept) == (key in model)
        assert kept.get(key) is model.get(key)
    once = {key: block for key, block in model.items() if not block.was_reused}
    assert kept.used_once_bytes == sum(block.allocated_bytes for block in once.values())
    all_bytes = sum(block.allocated_bytes for block in model.values())
    assert kept.reused_bytes == all_bytes - kept.used_once_bytes
    unpinned = [key for key, block in model.items() if not block.pins]
    assert kept.oldest == next(iter(unpinned), None)
    assert kept.oldest_used_once == next((key for key in unpinned if key in once), None)
