"""The memory limit that arrays and kept blocks share."""

from itertools import product

import pytest

from fibserver.memory.memory_limit import MemoryLimit


class FakeUser:
    """A user of memory whose parts have a size of one byte.

    Attributes:
        uses: When each part was used; the first is evicted next.
        can_evict: Whether parts can be evicted.
    """

    def __init__(self, memory: MemoryLimit, *uses: float, can_evict: bool = True) -> None:
        self.uses = list(uses)
        self.can_evict = can_evict
        memory.users.append(self)

    @property
    def used_bytes(self) -> int:
        return len(self.uses)

    @property
    def oldest_use(self) -> float | None:
        return self.uses[0] if self.uses and self.can_evict else None

    def evict_oldest(self) -> None:
        """Remove the first part."""
        assert self.can_evict
        del self.uses[0]


@pytest.fixture
def memory() -> MemoryLimit:
    """A limit of six bytes."""
    return MemoryLimit(6)


def test_without_users(memory: MemoryLimit) -> None:
    """The whole limit is free when there are no users, but no more."""
    assert memory.used_bytes == 0
    assert memory.make_room(6)
    assert not memory.make_room(7)


def test_nothing_is_evicted_if_there_is_room(memory: MemoryLimit) -> None:
    """What fits exactly evicts nothing; one byte more evicts one part."""
    user, other = FakeUser(memory, 1, 2), FakeUser(memory, 3)
    assert memory.used_bytes == 3
    assert memory.make_room(0)
    assert memory.make_room(3)
    assert memory.used_bytes == 3
    assert memory.make_room(4)
    assert (user.uses, other.uses) == ([2], [3])


def test_the_part_unused_for_longest_is_evicted_whoever_owns_it(memory: MemoryLimit) -> None:
    """Each eviction takes the part of any user that was used longest ago."""
    one, other = FakeUser(memory, 1, 4, 5), FakeUser(memory, 2, 3, 6)
    states = []
    for size in range(1, 7):
        assert memory.make_room(size)
        states.append((list(one.uses), list(other.uses)))
    assert states == [
        ([4, 5], [2, 3, 6]),
        ([4, 5], [3, 6]),
        ([4, 5], [6]),
        ([5], [6]),
        ([], [6]),
        ([], []),
    ]


def test_parts_that_cannot_be_evicted_stay(memory: MemoryLimit) -> None:
    """A user that can evict nothing keeps its memory, even if that was used longest ago."""
    fixed, other = FakeUser(memory, 1, 2, can_evict=False), FakeUser(memory, 3, 4)
    assert memory.make_room(4)
    assert other.uses == []
    assert not memory.make_room(5)
    assert fixed.uses == [1, 2]


def test_an_exempt_user_keeps_its_memory(memory: MemoryLimit) -> None:
    """Memory of the exempt user is not evicted, but counts."""
    exempt, other = FakeUser(memory, 1, 2, 3), FakeUser(memory, 4, 5, 6)
    assert memory.make_room(2, exempt=exempt)
    assert (exempt.uses, other.uses) == ([1, 2, 3], [6])
    assert not memory.make_room(4, exempt=exempt)
    assert exempt.uses == [1, 2, 3]


def test_a_limit_that_is_exceeded_already() -> None:
    """What exceeds the limit is evicted too."""
    memory = MemoryLimit(2)
    user = FakeUser(memory, 1, 2, 3, 4)
    assert memory.make_room(0)
    assert user.uses == [3, 4]


ORDERS = [
    uses
    for count in range(4)
    for uses in product(range(4), repeat=count)
    if sorted(uses) == [*uses]
]


@pytest.mark.parametrize("limit_bytes", range(7))
def test_every_small_case(limit_bytes: int) -> None:
    """Eviction stops as soon as there is room, and takes what was used longest ago."""
    for one_uses, other_uses in product(ORDERS, repeat=2):
        for can_evict, is_exempt in product((True, False), repeat=2):
            for size in range(limit_bytes + 1):
                memory = MemoryLimit(limit_bytes)
                one = FakeUser(memory, *one_uses, can_evict=can_evict)
                other = FakeUser(memory, *other_uses)
                evictable = [*(one_uses if can_evict and not is_exempt else ()), *other_uses]
                total = len(one_uses) + len(other_uses)
                needed = max(0, total + size - limit_bytes)
                has_room = memory.make_room(size, exempt=one if is_exempt else None)
                assert has_room == (needed <= len(evictable))
                evicted = min(needed, len(evictable))
                assert memory.used_bytes == total - evicted
                left = sorted([*one.uses, *other.uses])
                kept = [] if can_evict and not is_exempt else [*one_uses]
                assert left == sorted([*kept, *sorted(evictable)[evicted:]])
