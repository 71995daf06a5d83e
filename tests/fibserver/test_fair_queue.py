"""The fair queue: whose task is next."""

from fibclient.formats import FORMATS
from fibserver.blocks import HEAVY_INDEX, Action, Block, Task
from fibserver.fair_queue import FairQueue

TEXT = FORMATS["text"]


def task(number: int) -> Task:
    """A task that is told from others by its number; negative ones are heavy."""
    start = HEAVY_INDEX - number if number < 0 else number
    return Task(Action.FILL, Block(TEXT, start, start + 1, 0, 2))


def number_of(taken: Task | None) -> int | None:
    """The number of a task."""
    if taken is None:
        return None
    start = taken.block.start
    return HEAVY_INDEX - start if taken.block.is_heavy else start


class FakeSource:
    """A source of tasks.

    Attributes:
        numbers: of the tasks it still has.
        times_asked: how often it was asked for one.
    """

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.times_asked = 0

    @property
    def is_heavy(self) -> bool:
        """Whether its next task is a heavy one."""
        return bool(self.numbers) and self.numbers[0] < 0

    def next_task(self) -> Task | None:
        """Return the next task."""
        self.times_asked += 1
        return task(self.numbers.pop(0)) if self.numbers else None


def queue_of(*sources: FakeSource) -> FairQueue:
    """A queue in which these sources wait, in this order."""
    queue = FairQueue()
    for source in sources:
        queue.add(source)
    return queue


def numbers(queue: FairQueue, accepts_heavy: bool = True) -> list[int]:
    """Take all tasks, those of the background aside; return their numbers."""
    taken = []
    while (number := number_of(queue.take(accepts_heavy))) is not None:
        taken.append(number)
    return taken


def test_empty() -> None:
    """Nothing is to be had from an empty queue."""
    assert FairQueue().take() is None
    assert FairQueue().take(accepts_heavy=False) is None
    assert FairQueue().take_background() is None


def test_sources_take_turns() -> None:
    """Each source gets a block a turn, so a small one is done long before a huge one."""
    queue = queue_of(FakeSource(10, 11, 12, 13), FakeSource(20), FakeSource(30, 31))
    assert numbers(queue) == [10, 20, 30, 11, 31, 12, 13]


def test_new_source_waits_for_one_round() -> None:
    """A source that comes later is served after one block of each that waits."""
    queue = queue_of(FakeSource(10, 11, 12), FakeSource(20, 21))
    assert number_of(queue.take()) == 10
    queue.add(FakeSource(30))
    assert numbers(queue) == [20, 11, 30, 21, 12]


def test_adding_twice_gives_no_second_turn() -> None:
    """A source that is added again keeps its one place."""
    source = FakeSource(10, 11)
    assert numbers(queue_of(source, FakeSource(20), source)) == [10, 20, 11]


def test_adding_twice_gives_no_second_lane() -> None:
    """A source whose next block becomes heavy while it waits has one turn, not one in each."""
    source = FakeSource(10)
    queue = queue_of(source)
    source.numbers[:] = [-11]
    queue.add(source)
    assert numbers(queue) == [-11]
    assert source.times_asked == 2


def test_task_put_back_goes_first() -> None:
    """Tasks whose workers died go ahead of all turns, the one that waits longest first."""
    queue = queue_of(FakeSource(10, 11))
    assert number_of(queue.take()) == 10
    queue.put_back(task(98))
    queue.put_back(task(99))
    assert numbers(queue) == [98, 99, 11]


def test_heavy_task_put_back_waits_for_a_worker_that_takes_it() -> None:
    """A heavy task that was put back lets light ones pass where no heavy one is accepted."""
    queue = queue_of(FakeSource(10, 11))
    queue.put_back(task(-98))
    queue.put_back(task(99))
    assert number_of(queue.take(accepts_heavy=False)) == 99
    assert number_of(queue.take(accepts_heavy=False)) == 10
    assert number_of(queue.take()) == -98
    assert numbers(queue) == [11]


def test_light_and_heavy_take_turns() -> None:
    """However many sources of one kind there are, every second task is of the other."""
    queue = queue_of(
        FakeSource(10, 11, 12), FakeSource(20, 21), FakeSource(-30, -31), FakeSource(-40, -41)
    )
    assert numbers(queue) == [10, -30, 20, -40, 11, -31, 21, -41, 12]


def test_heavy_tasks_are_kept_where_none_is_accepted() -> None:
    """A worker that must take no heavy task gets light ones, and then none; none is lost."""
    queue = queue_of(FakeSource(-10, -11), FakeSource(20, 21))
    assert numbers(queue, accepts_heavy=False) == [20, 21]
    assert numbers(queue) == [-10, -11]


def test_heavy_turn_comes_after_light_ones() -> None:
    """After light tasks given where no heavy one was accepted, the next turn is a heavy one."""
    queue = queue_of(FakeSource(10, 11, 12), FakeSource(-20))
    assert number_of(queue.take(accepts_heavy=False)) == 10
    assert numbers(queue) == [-20, 11, 12]


def test_source_changes_its_lane() -> None:
    """A source that goes from light to heavy blocks, or back, takes its turns accordingly."""
    queue = queue_of(FakeSource(10, -11, 12), FakeSource(20, 21))
    assert number_of(queue.take(accepts_heavy=False)) == 10
    assert number_of(queue.take(accepts_heavy=False)) == 20
    assert number_of(queue.take(accepts_heavy=False)) == 21
    assert queue.take(accepts_heavy=False) is None
    assert numbers(queue) == [-11, 12]


def test_background_is_apart() -> None:
    """What stands in the background is taken only from there, in turn, a heavy block too."""
    queue = queue_of(FakeSource(10))
    queue.add_background(FakeSource(20, -21))
    queue.add_background(FakeSource(30))
    assert numbers(queue) == [10]
    taken = [number_of(queue.take_background()) for _ in range(4)]
    assert taken == [20, 30, -21, None]
    assert queue.take() is None


def test_background_once() -> None:
    """A source that is added to the background again keeps its one place there."""
    queue = FairQueue()
    source, other = FakeSource(10, 11), FakeSource(20)
    for each in (source, other, source):
        queue.add_background(each)
    assert [number_of(queue.take_background()) for _ in range(4)] == [10, 20, 11, None]


def test_discard() -> None:
    """A source that is discarded is asked no more; one that does not wait may be discarded."""
    light, heavy, background = FakeSource(10, 11), FakeSource(-12), FakeSource(13)
    kept = FakeSource(20, 21)
    queue = queue_of(light, kept, heavy)
    queue.add_background(background)
    assert number_of(queue.take()) == 10
    for gone in (light, heavy, background, FakeSource()):
        queue.discard(gone)
    assert numbers(queue) == [20, 21]
    assert queue.take_background() is None
    assert (light.times_asked, heavy.times_asked, background.times_asked) == (1, 0, 0)


def test_exhausted_source_vanishes() -> None:
    """A source with nothing left is not asked again until it is added again."""
    empty = FakeSource()
    queue = queue_of(empty, FakeSource(20, 21))
    assert numbers(queue) == [20, 21]
    assert queue.take() is None
    assert empty.times_asked == 1
    queue.add(empty)
    assert queue.take() is None
    assert empty.times_asked == 2
