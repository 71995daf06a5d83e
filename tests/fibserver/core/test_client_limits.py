"""Limits on one client: time budget, queue of clients and output bound."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibserver.core.client_limits import (
    EVENTS_SECONDS,
    ITERATION_SECONDS,
    SLICE_SECONDS,
    LoopBudget,
    ServiceQueue,
    slowest_readers,
)
from tests.support.small_engine import FakeClock

INFINITY = float("inf")


def test_client_is_served_until_slice_is_over() -> None:
    """A client is served until its time slice is over; the next client gets a new one."""
    clock = FakeClock()
    budget = LoopBudget(clock)
    budget.start_slice()
    clock.now += SLICE_SECONDS * 0.9
    assert not budget.is_slice_over
    clock.now += SLICE_SECONDS * 0.2
    assert budget.is_slice_over
    budget.start_slice()
    assert not budget.is_slice_over


def test_events_have_a_part_of_the_iteration() -> None:
    """After EVENTS_SECONDS, the remaining events of an iteration are queued."""
    clock = FakeClock()
    budget = LoopBudget(clock)
    budget.start_iteration(clock.now)
    budget.start_slice()
    assert not budget.is_spent
    clock.now += EVENTS_SECONDS
    budget.start_slice()
    assert budget.is_spent
    budget.start_iteration(clock.now)
    assert not budget.is_spent


@pytest.mark.parametrize("late", [0.0, EVENTS_SECONDS, ITERATION_SECONDS, 100 * ITERATION_SECONDS])
def test_queue_has_rest_of_the_iteration(late: float) -> None:
    """The queue is served until ITERATION_SECONDS, but for at least one time slice."""
    clock = FakeClock()
    budget = LoopBudget(clock)
    start = clock.now
    budget.start_iteration(start)
    clock.now += late
    budget.start_queue()
    assert not budget.check()
    clock.now = max(start + ITERATION_SECONDS, clock.now + SLICE_SECONDS) - 1e-5
    assert not budget.check()
    clock.now += 2e-5
    assert budget.check()
    assert budget.is_spent


def test_new_clients_come_before_busy_ones() -> None:
    """Clients with new work are served first; each list keeps its order."""
    queue: ServiceQueue[str] = ServiceQueue()
    queue.add_busy("a")
    queue.add_busy("b")
    queue.add_new("c")
    queue.add_new("d")
    assert [queue.pop() for _ in range(5)] == ["c", "d", "a", "b", None]


def test_busy_clients_are_not_starved() -> None:
    """A busy client can be taken before those with new work."""
    queue: ServiceQueue[str] = ServiceQueue()
    assert queue.pop_busy() is None
    queue.add_new("a")
    assert queue.pop_busy() is None
    queue.add_busy("b")
    assert queue.pop_busy() == "b"


def test_queued_client_is_not_queued_twice() -> None:
    """A queued client is not queued twice, and an event does not move it forward."""
    queue: ServiceQueue[str] = ServiceQueue()
    queue.add_busy("a")
    queue.add_busy("b")
    queue.add_new("b")
    queue.add_new("c")
    queue.add_new("c")
    queue.discard("d")
    queue.discard("a")
    assert [queue.pop() for _ in range(3)] == ["c", "b", None]


@dataclass(frozen=True)
class FakeHolder:
    """Connection with pending output."""

    held_bytes: int
    bytes_per_second: float = INFINITY
    blocked_since: float = INFINITY


def test_no_victim_within_the_bound() -> None:
    """No connection is chosen if all output fits exactly."""
    assert slowest_readers([FakeHolder(80), FakeHolder(20, 0.0, 0.0)], 100, 100) == []


def test_slowest_reader_is_first_victim() -> None:
    """Victims are ordered by reading rate, then by time blocked, then by size."""
    slow, slower = FakeHolder(10, 50.0, 7.0), FakeHolder(10, 5.0, 9.0)
    new, old = FakeHolder(10, blocked_since=9.0), FakeHolder(10, blocked_since=8.0)
    small, large = FakeHolder(1), FakeHolder(10)
    empty = FakeHolder(0, 1.0, 1.0)
    holders = [small, new, slow, large, old, slower, empty]
    total = sum(holder.held_bytes for holder in holders)
    assert slowest_readers(holders, total, 0) == [slower, slow, old, new, large, small]


@given(st.lists(st.integers(0, 100)), st.integers(0, 1000))
def test_victims_are_as_few_as_possible(sizes: list[int], limit: int) -> None:
    """The victims are the fewest that free an eighth of the bound."""
    holders = [FakeHolder(size, float(size)) for size in sizes]
    held = sum(sizes)
    victims = slowest_readers(holders, held, limit)
    left = held - sum(victim.held_bytes for victim in victims)
    if held <= limit:
        assert victims == []
    else:
        assert left <= limit - limit // 8 < left + victims[-1].held_bytes
