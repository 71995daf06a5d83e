"""Tests for the bound on held bytes."""

from hypothesis import given
from hypothesis import strategies as st

from fibweb.overload.held_bytes import HeldBytes


class HoldingConnection:
    """A connection that holds bytes."""

    def __init__(self) -> None:
        self.times_given_up = 0

    def release_held(self) -> None:
        """Count the calls."""
        self.times_given_up += 1


def test_the_slowest_gives_way() -> None:
    """The oldest holders release their bytes, as many as necessary."""
    held = HeldBytes(100)
    first, second, third = HoldingConnection(), HoldingConnection(), HoldingConnection()
    held.set(first, 40)
    held.set(second, 40)
    held.set(first, 30)  # it holds fewer bytes now, and remains the oldest
    held.set(third, 60)
    assert [holder.times_given_up for holder in (first, second, third)] == [1, 0, 0]
    assert (held.size, held.released) == (100, 1)
    held.set(first, 100)
    assert [holder.times_given_up for holder in (first, second, third)] == [1, 1, 1]
    assert held.size == 100


def test_the_next_piece_is_a_new_turn() -> None:
    """A fast reader, which released its bytes in between, counts as newer than a slow one."""
    held = HeldBytes(100)
    fast, slow = HoldingConnection(), HoldingConnection()
    held.set(fast, 50)
    held.set(slow, 50)
    held.set(fast, 0)
    held.set(fast, 60)
    assert (fast.times_given_up, slow.times_given_up) == (0, 1)


def test_tight() -> None:
    """Memory is tight when more than half of the limit is used."""
    held = HeldBytes(100)
    reader = HoldingConnection()
    held.set(reader, 50)
    assert not held.is_tight
    held.set(reader, 51)
    assert held.is_tight


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 120))))
def test_the_limit_holds(steps: list[tuple[int, int]]) -> None:
    """The total never exceeds the limit and is the sum of the holders."""
    held = HeldBytes(100)
    readers = [HoldingConnection() for _ in range(6)]
    for number, size in steps:
        held.set(readers[number], size)
        assert 0 <= held.size <= 100
    for reader in readers:
        held.set(reader, 0)
    assert held.size == 0
