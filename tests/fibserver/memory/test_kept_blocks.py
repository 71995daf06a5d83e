"""The order in which kept blocks are evicted."""

from dataclasses import dataclass
from itertools import product

import pytest

from fibserver.memory.kept_blocks import KeptBlocks


@dataclass
class FakeBlock:
    """A block that can be kept."""

    allocated_bytes: int = 1
    last_use: float = 0.0
    was_reused: bool = False
    pins: int = 0


@pytest.fixture
def kept() -> KeptBlocks[str, FakeBlock]:
    """No blocks."""
    return KeptBlocks()


def test_no_blocks(kept: KeptBlocks[str, FakeBlock]) -> None:
    """Without blocks there is nothing to evict."""
    assert len(kept) == 0
    assert "a" not in kept
    assert kept.get("a") is None
    assert kept.pop("a") is None
    assert kept.oldest is None
    assert kept.oldest_used_once is None
    assert (kept.used_once_bytes, kept.reused_bytes) == (0, 0)


def test_sizes(kept: KeptBlocks[str, FakeBlock]) -> None:
    """The sizes of both queues are counted apart."""
    kept.add("a", FakeBlock(3))
    kept.add("b", FakeBlock(5))
    kept.add("c", FakeBlock(7, was_reused=True))
    assert (kept.used_once_bytes, kept.reused_bytes) == (8, 7)
    kept.pop("a")
    kept.pop("c")
    assert (kept.used_once_bytes, kept.reused_bytes) == (5, 0)
    assert kept.pop("a") is None
    assert (kept.used_once_bytes, kept.reused_bytes) == (5, 0)


def test_the_oldest_of_both_queues(kept: KeptBlocks[str, FakeBlock]) -> None:
    """The block used longest ago is evicted first, whichever queue it is in."""
    for time, (key, was_reused) in enumerate(
        [("a", True), ("b", False), ("c", True), ("d", False)]
    ):
        kept.add(key, FakeBlock(1, time, was_reused))
    order = []
    while (key_to_evict := kept.oldest) is not None:
        order.append(key_to_evict)
        kept.pop(key_to_evict)
    assert order == ["a", "b", "c", "d"]


def test_the_oldest_used_once(kept: KeptBlocks[str, FakeBlock]) -> None:
    """Blocks used once can be evicted although blocks used again are older."""
    kept.add("a", FakeBlock(1, 1, was_reused=True))
    kept.add("b", FakeBlock(1, 2))
    kept.add("c", FakeBlock(1, 3))
    assert (kept.oldest, kept.oldest_used_once) == ("a", "b")
    kept.pop("b")
    assert (kept.oldest, kept.oldest_used_once) == ("a", "c")
    kept.pop("c")
    assert (kept.oldest, kept.oldest_used_once) == ("a", None)


@pytest.mark.parametrize("was_reused", [False, True])
def test_pinned_blocks_are_passed_over(kept: KeptBlocks[str, FakeBlock], was_reused: bool) -> None:
    """A pinned block is not evicted, but counts, and is evicted in its turn once unpinned."""
    blocks = {key: FakeBlock(1, time, was_reused) for time, key in enumerate("abc")}
    for key, block in blocks.items():
        kept.add(key, block)
    blocks["a"].pins = 1
    assert kept.oldest == "b"
    kept.pop("b")
    kept.pop("c")
    assert kept.oldest is kept.oldest_used_once is None
    assert kept.used_once_bytes + kept.reused_bytes == len(kept) == 1
    blocks["a"].pins = 0
    assert kept.oldest == "a"


def test_a_block_used_again_moves_to_the_other_queue(kept: KeptBlocks[str, FakeBlock]) -> None:
    """A block that is removed, used and added again is the last to be evicted."""
    for time, key in enumerate("ab"):
        kept.add(key, FakeBlock(1, time))
    block = kept.pop("a")
    assert block is not None
    block.was_reused, block.last_use = True, 2
    kept.add("a", block)
    assert kept.get("a") is block
    assert (kept.used_once_bytes, kept.reused_bytes) == (1, 1)
    assert kept.oldest == "b"


KEYS = "abc"
STEPS = [*product(("once", "reused", "pop", "pin"), KEYS), ("evict", "")]
"""What may happen: adding, removing and pinning a block, and evicting the oldest."""


def test_every_short_history() -> None:
    """After any four steps the queues, their sizes and their order are right."""
    for history in product(STEPS, repeat=4):
        kept: KeptBlocks[str, FakeBlock] = KeptBlocks()
        model: dict[str, FakeBlock] = {}  # in the order of the last use
        for time, (step, key) in enumerate(history):
            if step in ("once", "reused") and key not in model:
                size = 1 + KEYS.index(key)
                model[key] = FakeBlock(size, time, step == "reused")
                kept.add(key, model[key])
            elif step == "pop":
                assert kept.pop(key) is model.pop(key, None)
            elif step == "pin" and key in model:
                model[key].pins = 1 - model[key].pins
            elif step == "evict" and (oldest := kept.oldest) is not None:
                assert kept.pop(oldest) is model.pop(oldest)
            assert_same(kept, model)


def assert_same(kept: KeptBlocks[str, FakeBlock], model: dict[str, FakeBlock]) -> None:
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
