"""Fair queue of tasks for the workers: cheap ones first, then the shortest dear one.

A *source* is something that still lacks blocks, as a rule an answer. A source whose next block
takes longer than `DEAR_SECONDS` by prediction is dear, the others are cheap.

Cheap sources take turns, one block each, so a huge cheap answer delays a small one by one block of
each source at most. Dear sources are ordered by a virtual deadline: the time since when the client
waits, plus the predicted cost times `AGEING`. One number gives both the shortest job first and
ageing: a source is overtaken only by cheaper ones that come within `AGEING` times the difference
in cost. Nothing has to be sorted again as time passes, because all age alike.

Cheap tasks go first. A dear task whose deadline has passed gets every second turn, so that no
number of cheap tasks starves it. The worker pool keeps one worker free of dear tasks: it takes
with `accepts_dear=False`, and there cheap tasks never wait for dear ones.

A task whose worker died goes first: a client has waited for it longest. Tasks without a client
wait in the background, and are taken when nothing else waits.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import NamedTuple, Protocol

from fibcommon.costs import DEAR_SECONDS
from fibserver.memory.blocks import Task

__all__ = ["AGEING", "FairQueue", "TaskSource"]

AGEING = 10.0
"""How many times its own predicted cost a dear source gives way to cheaper newcomers. By default
F(10**7) is the largest: it gives way for 4 s, while its client waits up to 60 s."""


class TaskSource(Protocol):
    """Something that still needs blocks filled, loaded or saved."""

    @property
    def cost_seconds(self) -> float:
        """Predicted time of a worker for its next block."""

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait for the first byte; None if none waits for that."""

    def next_task(self) -> Task | None:
        """Return the next task, or None if there is none to hand out at present."""


class _DearEntry(NamedTuple):
    """A waiting dear source; entries compare by deadline, equal ones by their order of arrival."""

    deadline: float
    number: int
    cost_seconds: float
    source: TaskSource


class FairQueue:
    """Tasks for workers, taken from their sources.

    Attributes:
        dear_seconds: predicted cost of one block of each dear source that waits.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Create an empty queue.

        Args:
            clock: returns the time, monotonic, in seconds.
        """
        self.dear_seconds = 0.0
        self._clock = clock
        self._put_back: deque[Task] = deque()
        self._cheap: dict[TaskSource, None] = {}  # in the order of their turns
        self._dear: list[_DearEntry] = []  # sorted
        self._dear_entries: dict[TaskSource, _DearEntry] = {}
        self._background: dict[TaskSource, None] = {}
        self._numbers = count()
        self._is_dear_turn = False

    @property
    def cheap_sources(self) -> int:
        """How many cheap sources wait."""
        return len(self._cheap)

    @property
    def dear_sources(self) -> int:
        """How many dear sources wait."""
        return len(self._dear)

    def dear_seconds_before(self, cost_seconds: float) -> float:
        """Return how much of `dear_seconds` would be served before a source that came now.

        Args:
            cost_seconds: predicted cost of the newcomer's first block.
        """
        deadline = self._clock() + AGEING * cost_seconds
        stop = bisect_right(self._dear, deadline, key=lambda entry: entry.deadline)
        return sum(entry.cost_seconds for entry in self._dear[:stop])

    @property
    def is_dear_due(self) -> bool:
        """Whether a dear source has waited beyond its deadline."""
        return bool(self._dear) and self._dear[0].deadline <= self._clock()

    def add(self, source: TaskSource) -> None:
        """Add a source, unless it waits already."""
        if source not in self._cheap and source not in self._dear_entries:
            self._append(source)

    def _append(self, source: TaskSource) -> None:
        cost = source.cost_seconds
        if cost <= DEAR_SECONDS:
            self._cheap[source] = None
            return
        since = source.waiting_since
        deadline = (self._clock() if since is None else since) + AGEING * cost
        entry = _DearEntry(deadline, next(self._numbers), cost, source)
        insort(self._dear, entry)
        self._dear_entries[source] = entry
        self.dear_seconds += cost

    def add_background(self, source: TaskSource) -> None:
        """Add a source of tasks that are taken when nothing else waits."""
        self._background[source] = None

    def discard(self, source: TaskSource) -> None:
        """Remove a source, if it waits."""
        self._cheap.pop(source, None)
        self._background.pop(source, None)
        entry = self._dear_entries.get(source)
        if entry is not None:
            self._remove_dear(bisect_left(self._dear, entry))

    def _remove_dear(self, index: int) -> TaskSource:
        entry = self._dear.pop(index)
        del self._dear_entries[entry.source]
        # Rounding errors do not add up: the sum begins anew with each empty queue.
        self.dear_seconds = self.dear_seconds - entry.cost_seconds if self._dear else 0.0
        return entry.source

    def put_back(self, task: Task) -> None:
        """Take back a task whose worker died, to be handed out next."""
        self._put_back.append(task)

    def take(self, accepts_dear: bool = True) -> Task | None:
        """Return the next task, or None if none waits.

        Args:
            accepts_dear: whether it may be a dear one.
        """
        for task in self._put_back:
            if accepts_dear or not task.block.is_dear:
                self._put_back.remove(task)
                return task
        if accepts_dear and self._is_dear_turn and self.is_dear_due:
            dear = self._take_dear()
            if dear is not None:
                return dear
        cheap = self._take_cheap()
        if cheap is not None:
            self._is_dear_turn = True
            return cheap
        return self._take_dear() if accepts_dear else None

    def _take_cheap(self) -> Task | None:
        while self._cheap:
            source = _pop_first(self._cheap)
            if source.cost_seconds > DEAR_SECONDS:  # it became dear while it waited
                self._append(source)
                continue
            task = source.next_task()
            if task is not None:
                self._append(source)
                return task
        return None

    def _take_dear(self) -> Task | None:
        self._is_dear_turn = False
        while self._dear:
            source = self._remove_dear(0)
            task = source.next_task()
            if task is not None:
                self._append(source)
                return task
        return None

    def take_background(self) -> Task | None:
        """Return the next task of the background, or None if none waits there."""
        while self._background:
            source = _pop_first(self._background)
            task = source.next_task()
            if task is not None:
                self._background[source] = None
                return task
        return None


def _pop_first(sources: dict[TaskSource, None]) -> TaskSource:
    source = next(iter(sources))
    del sources[source]
    return source
