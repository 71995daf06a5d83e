"""Tests of the fair queue."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fibcommon.costs import EXPENSIVE_SECONDS, first_element_seconds
from fibcommon.formats import FORMATS
from fibserver.core.fair_queue import AGEING, FairQueue
from fibserver.memory.blocks import Action, Block, Task
from tests.support.small_engine import FakeClock

TEXT = FORMATS["text"]
EXPENSIVE_INDEX = 1_000_000
"""Index of the first element of expensive blocks, which takes a worker 42 ms."""


def task(number: int) -> Task:
    """Return a task identified by a number; negative numbers are expensive."""
    start = EXPENSIVE_INDEX - number if number < 0 else number
    return Task(Action.FILL, Block(TEXT, start, start + 1, 0, 2))


def number_of(taken: Task | None) -> int | None:
    """Return the number of a task, or None."""
    if taken is None:
        return None
    start = taken.block.start
    return EXPENSIVE_INDEX - start if taken.is_expensive else start


def cost(number: int) -> float:
    """Return the predicted cost of the task with a number, in seconds."""
    return task(number).block.cost_seconds


class NumberedSource:
    """Source of tasks for tests.

    Attributes:
        numbers: Numbers of its remaining tasks.
        times_asked: Number of calls of `next_task`.
        waiting_since: When its client began to wait, or None.
    """

    def __init__(self, *numbers: int, waiting_since: float | None = None) -> None:
        self.numbers = list(numbers)
        self.times_asked = 0
        self.waiting_since = waiting_since

    @property
    def cost_seconds(self) -> float:
        """Predicted cost of its next task."""
        return cost(self.numbers[0]) if self.numbers else 0.0

    def next_task(self) -> Task | None:
        """Return the next task."""
        self.times_asked += 1
        return task(self.numbers.pop(0)) if self.numbers else None


def queue_of(*sources: NumberedSource, clock: FakeClock | None = None) -> FairQueue:
    """Return a queue with these sources, in this order."""
    queue = FairQueue(clock or FakeClock())
    for source in sources:
        queue.add(source)
    return queue


def numbers(queue: FairQueue, accepts_expensive: bool = True) -> list[int]:
    """Take all tasks except background ones; return their numbers."""
    taken = []
    while (number := number_of(queue.pop(accepts_expensive))) is not None:
        taken.append(number)
    return taken


def test_empty_queue_has_no_task() -> None:
    """An empty queue has no task, and no expensive seconds."""
    queue = queue_of()
    assert queue.pop() is None
    assert queue.pop(accepts_expensive=False) is None
    assert queue.pop_background() is None
    assert not queue.is_expensive_due
    assert queue.expensive_seconds_before(1.0) == 0


# Cheap sources.


def test_cheap_sources_take_turns() -> None:
    """Cheap sources are served round-robin, so a small one does not wait for a huge one."""
    queue = queue_of(NumberedSource(10, 11, 12, 13), NumberedSource(20), NumberedSource(30, 31))
    assert numbers(queue) == [10, 20, 30, 11, 31, 12, 13]


def test_new_source_waits_for_one_round() -> None:
    """A new source is served after one block of each queued source."""
    queue = queue_of(NumberedSource(10, 11, 12), NumberedSource(20, 21))
    assert number_of(queue.pop()) == 10
    queue.add(NumberedSource(30))
    assert numbers(queue) == [20, 11, 30, 21, 12]


def test_adding_source_twice_has_no_effect() -> None:
    """Adding a queued source again, cheap or expensive, has no effect."""
    source, expensive = NumberedSource(10, 11), NumberedSource(-10, -10)
    queue = queue_of(source, expensive, NumberedSource(20), source, expensive)
    assert (queue.cheap_sources, queue.expensive_sources) == (2, 1)
    assert numbers(queue) == [10, 20, 11, -10, -10]


def test_adding_again_does_not_make_it_wait_twice() -> None:
    """A cheap source whose next block has become expensive is moved, not queued twice."""
    source = NumberedSource(10)
    queue = queue_of(source)
    source.numbers[:] = [-11]
    queue.add(source)
    assert queue.pop(accepts_expensive=False) is None, "it is moved before a worker gets it"
    assert source.times_asked == 0
    assert numbers(queue) == [-11]
    assert source.times_asked == 2


# Tasks returned to the queue.


def test_task_put_back_goes_first() -> None:
    """Returned tasks go first, in the order of their return."""
    queue = queue_of(NumberedSource(10, 11))
    assert number_of(queue.pop()) == 10
    queue.put_back(task(98))
    queue.put_back(task(99))
    assert numbers(queue) == [98, 99, 11]


def test_expensive_task_put_back_waits_for_a_worker_that_takes_it() -> None:
    """A returned expensive task is skipped by a worker that does not accept expensive tasks."""
    queue = queue_of(NumberedSource(10, 11))
    queue.put_back(task(-98))
    queue.put_back(task(99))
    assert number_of(queue.pop(accepts_expensive=False)) == 99
    assert number_of(queue.pop(accepts_expensive=False)) == 10
    assert number_of(queue.pop()) == -98
    assert numbers(queue) == [11]


# Expensive sources.


def test_cheap_before_expensive() -> None:
    """Before its deadline, an expensive task is taken only if no cheap one waits."""
    queue = queue_of(NumberedSource(-30, -31), NumberedSource(10, 11, 12), NumberedSource(20))
    assert numbers(queue) == [10, 20, 11, 12, -30, -31]


def test_the_shortest_expensive_one_first() -> None:
    """Among expensive sources that arrive together the cheapest is first, equal ones in order."""
    queue = queue_of(*(NumberedSource(-number) for number in (5000, 3000, 9000, 3000, 4000)))
    assert numbers(queue) == [-3000, -3000, -4000, -5000, -9000]


def test_ageing() -> None:
    """A cheaper source overtakes one that has waited less than AGEING times the difference."""
    clock = FakeClock()
    expensive, cheaper = -9_000_000, -1_000_000
    head_start = AGEING * (cost(expensive) - cost(cheaper))
    for waited, order in ((0.99, [cheaper, expensive]), (1.01, [expensive, cheaper])):
        queue = queue_of(NumberedSource(expensive), clock=clock)
        clock.now += waited * head_start
        queue.add(NumberedSource(cheaper))
        assert numbers(queue) == order


def test_ageing_counts_from_when_the_client_began_to_wait() -> None:
    """A source that returns to the queue keeps the age of its request."""
    clock = FakeClock()
    queue = queue_of(NumberedSource(-1), clock=clock)
    queue.add(NumberedSource(-2, waiting_since=clock.now - 1))
    assert numbers(queue) == [-2, -1]


def test_each_expensive_block_has_its_own_deadline() -> None:
    """Each block of an expensive source has its own deadline, so expensive streams alternate."""
    clock = FakeClock()
    queue = queue_of(NumberedSource(-10, -10, -10), NumberedSource(-10, -10), clock=clock)
    taken = []
    while (number := number_of(queue.pop())) is not None:
        clock.now += cost(number)
        taken.append(number)
        if len(taken) == 2:
            queue.add(NumberedSource(-9))
    assert taken == [-10, -10, -10, -10, -9, -10]


def test_overdue_expensive_tasks_take_turns_with_cheap_ones() -> None:
    """After its deadline, every second task is expensive, however many cheap ones wait."""
    clock = FakeClock()
    queue = queue_of(
        NumberedSource(10, 11, 12),
        NumberedSource(-30),
        NumberedSource(-31),
        NumberedSource(20, 21),
        clock=clock,
    )
    assert not queue.is_expensive_due
    assert number_of(queue.pop()) == 10
    clock.now += AGEING * cost(-31)
    assert queue.is_expensive_due
    assert numbers(queue) == [-30, 20, -31, 11, 21, 12]


def test_an_expensive_turn_is_spent_without_cheap_ones_too() -> None:
    """A cheap source that arrives after an expensive task is served before the next one."""
    clock = FakeClock()
    queue = queue_of(NumberedSource(10), NumberedSource(-30), NumberedSource(-31), clock=clock)
    clock.now += AGEING * cost(-31)
    assert [number_of(queue.pop()) for _ in range(2)] == [10, -30]
    queue.add(NumberedSource(11))
    assert numbers(queue) == [11, -31]


def test_expensive_tasks_are_kept_where_none_is_accepted() -> None:
    """A worker that accepts no expensive tasks gets cheap ones; the others stay queued."""
    clock = FakeClock()
    queue = queue_of(NumberedSource(-10, -11), NumberedSource(20, 21), clock=clock)
    clock.now += 1000
    assert numbers(queue, accepts_expensive=False) == [20, 21]
    assert numbers(queue) == [-10, -11]


def test_source_changes_its_kind() -> None:
    """A source with cheap and expensive blocks is queued by the cost of the next one."""
    queue = queue_of(NumberedSource(10, -11, 12), NumberedSource(20, 21))
    assert numbers(queue, accepts_expensive=False) == [10, 20, 21]
    assert numbers(queue) == [-11, 12]


def test_queue_reports_expensive_seconds() -> None:
    """The queue reports the predicted cost of its expensive sources, and that before a new one."""
    clock = FakeClock()
    sources = [NumberedSource(-number * 1_000_000) for number in (1, 2, 3)]
    queue = queue_of(NumberedSource(10), *sources, clock=clock)
    costs = [cost(source.numbers[0]) for source in sources]
    assert queue.expensive_seconds == pytest.approx(sum(costs))
    assert queue.expensive_seconds_before(costs[0] / 2) == 0
    assert queue.expensive_seconds_before(costs[1]) == sum(costs[:2]), (
        "equal ones are served in order"
    )
    clock.now += AGEING * costs[-1]
    assert queue.expensive_seconds_before(EXPENSIVE_SECONDS) == sum(costs)
    queue.discard(sources[1])
    assert queue.expensive_seconds == pytest.approx(costs[0] + costs[2])
    assert (queue.cheap_sources, queue.expensive_sources) == (1, 2)
    assert numbers(queue) == [10, -1_000_000, -3_000_000]
    assert queue.expensive_seconds == 0


# Background tasks, and removal.


def test_background_tasks_are_popped_separately() -> None:
    """Background tasks, cheap or expensive, are taken round-robin by `pop_background` only."""
    queue = queue_of(NumberedSource(10))
    queue.add_background(NumberedSource(20, -21))
    queue.add_background(NumberedSource(30))
    assert numbers(queue) == [10]
    taken = [number_of(queue.pop_background()) for _ in range(4)]
    assert taken == [20, 30, -21, None]
    assert queue.pop() is None


def test_background_once() -> None:
    """Adding a background source again has no effect."""
    queue = queue_of()
    source, other = NumberedSource(10, 11), NumberedSource(20)
    for background in (source, other, source):
        queue.add_background(background)
    assert [number_of(queue.pop_background()) for _ in range(4)] == [10, 20, 11, None]


def test_discarded_source_yields_no_tasks() -> None:
    """A discarded source yields no more tasks; discarding one that is not queued is allowed."""
    cheap, expensive, background = NumberedSource(10, 11), NumberedSource(-12), NumberedSource(13)
    kept = [NumberedSource(20, 21), NumberedSource(-12), NumberedSource(-13)]
    queue = queue_of(cheap, kept[0], kept[1], expensive, kept[2])
    queue.add_background(background)
    assert number_of(queue.pop()) == 10
    for gone in (cheap, expensive, background, NumberedSource()):
        queue.discard(gone)
    assert numbers(queue) == [20, 21, -12, -13]
    assert queue.pop_background() is None
    assert (cheap.times_asked, expensive.times_asked, background.times_asked) == (1, 0, 0)
    queue.add(expensive)
    assert numbers(queue) == [-12]


def test_exhausted_source_vanishes() -> None:
    """An exhausted source is removed until it is added again."""
    empty = NumberedSource()
    queue = queue_of(empty, NumberedSource(20, 21))
    assert numbers(queue) == [20, 21]
    assert queue.pop() is None
    assert empty.times_asked == 1
    queue.add(empty)
    assert queue.pop() is None
    assert empty.times_asked == 2


# Properties.

steps = st.lists(
    st.one_of(
        st.lists(st.integers(1, 400_000), min_size=1, max_size=9),  # a cheap source
        st.lists(st.integers(-9_000_000, -1), min_size=1, max_size=3),  # an expensive one
        st.floats(0.01, 5),  # time passes
        st.booleans(),  # a worker takes a task, that accepts expensive ones or not
    ),
    max_size=60,
)


@given(steps)
@example([[-1], True, [-1], [1, 1], 1.0, False])
def test_cheap_never_waits_for_expensive_and_no_expensive_one_starves(
    plan: list[list[int] | float | bool],
) -> None:
    """Cheap tasks never wait for expensive ones not accepted; overdue expensive ones alternate."""
    clock = FakeClock()
    queue = FairQueue(clock)
    sources: list[NumberedSource] = []
    was_expensive = was_cheap_though_due = False
    for step in [*plan, *[True] * 200]:
        if isinstance(step, list):
            sources.append(NumberedSource(*step))
            queue.add(sources[-1])
        elif not isinstance(step, bool):
            clock.now += step
        else:
            cheap_waits = any(source.numbers and source.numbers[0] > 0 for source in sources)
            expensive_waits = any(source.numbers and source.numbers[0] < 0 for source in sources)
            is_due = queue.is_expensive_due
            number = number_of(queue.pop(accepts_expensive=step))
            if not step:
                assert (number is not None) == cheap_waits
                assert number is None or number > 0
                was_expensive = was_expensive and number is None
                continue
            assert (number is not None) == (cheap_waits or expensive_waits)
            is_expensive = number is not None and number < 0
            if is_expensive and cheap_waits:
                assert is_due
                assert not was_expensive, "two expensive ones while a cheap one waits"
            assert not (was_cheap_though_due and is_due and not is_expensive), (
                "an expensive one starves"
            )
            was_expensive, was_cheap_though_due = is_expensive, is_due and not is_expensive
    assert not any(source.numbers for source in sources)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(-9_000_000, -1)), max_size=40),
    st.data(),
)
def test_expensive_sources_in_the_order_of_their_deadlines(
    waiting: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Expensive tasks are ordered by the start of waiting plus AGEING times the cost."""
    sources = [NumberedSource(number, waiting_since=float(since)) for since, number in waiting]
    queue = queue_of(*sources)
    gone = data.draw(st.sets(st.sampled_from(range(len(sources))))) if sources else set()
    for index in gone:
        queue.discard(sources[index])
    kept = [each for index, each in enumerate(waiting) if index not in gone]
    kept.sort(key=lambda entry: entry[0] + AGEING * cost(entry[1]))
    assert numbers(queue) == [number for _, number in kept]


def test_the_index_of_expensive_blocks() -> None:
    """The numbers that these tests use as expensive are expensive, and the others cheap."""
    assert first_element_seconds(TEXT, EXPENSIVE_INDEX) > EXPENSIVE_SECONDS
    assert first_element_seconds(TEXT, 400_000) < EXPENSIVE_SECONDS
