"""Fair queue of tasks for the workers: cheap tasks first, then the shortest expensive one.

A *source* yields tasks for blocks that it needs; usually it is the stream of a slice. A source is
expensive if its next block is predicted to take longer than `EXPENSIVE_SECONDS`, else cheap.

Cheap sources are served round-robin, one block each, so a huge cheap slice delays a small one by
at most one block per source. Expensive sources are ordered by a virtual deadline: the time when
the client began to wait, plus `AGEING` times the predicted cost. This combines shortest-job-first
with ageing: a source is overtaken only by cheaper ones that arrive within `AGEING` times the
difference in cost. The order never changes as time passes, because all sources age equally.

Cheap tasks go first. Once its deadline has passed, an expensive task alternates with cheap ones,
so that no number of cheap tasks starves it. A pool of several workers reserves one for cheap
tasks: it takes with `accepts_expensive=False`, so cheap tasks never wait for expensive ones.

A task whose worker died goes first, because its client has waited longest. Background tasks, which
no client waits for, are taken when no other task waits.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import NamedTuple, Protocol

from fibcommon.costs import EXPENSIVE_SECONDS
from fibserver.memory.blocks import Task

__all__ = ["AGEING", "FairQueue", "TaskSource"]

AGEING = 10.0
"""Time during which cheaper sources may overtake an expensive one, as a multiple of its predicted
cost. With default settings F(10**7) costs most: it is overtaken for at most 4 s (in `binary` for
35 s), and its client waits up to 60 s."""


class TaskSource(Protocol):
    """Source of tasks on blocks."""

    @property
    def cost_seconds(self) -> float:
        """Predicted time that a worker needs for its next block."""

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait for the first byte, None if no client does."""

    def next_task(self) -> Task | None:
        """Return the next task, or None if none can be given out now."""


class _ExpensiveEntry(NamedTuple):
    """A queued expensive source; entries compare by deadline, then by order of arrival."""

    deadline: float
    number: int
    cost_seconds: float
    source: TaskSource


class FairQueue:
    """Queue of sources, from which workers take tasks.

    Attributes:
        expensive_seconds: Predicted cost of one block of each queued expensive source, in total.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Create an empty queue.

        Args:
            clock: Returns the monotonic time in seconds.
        """
        self.expensive_seconds = 0.0
        self._clock = clock
        self._put_back: deque[Task] = deque()
        self._cheap: dict[TaskSource, None] = {}  # in round-robin order
        self._expensive: list[_ExpensiveEntry] = []  # sorted
        self._expensive_entries: dict[TaskSource, _ExpensiveEntry] = {}
        self._background: dict[TaskSource, None] = {}
        self._numbers = count()
        self._is_expensive_next = False

    @property
    def cheap_sources(self) -> int:
        """Number of queued cheap sources."""
        return len(self._cheap)

    @property
    def expensive_sources(self) -> int:
        """Number of queued expensive sources."""
        return len(self._expensive)

    def expensive_seconds_before(self, cost_seconds: float) -> float:
        """Return the part of `expensive_seconds` that would be served before a new source.

        Args:
            cost_seconds: Predicted cost of the new source's first block.
        """
        deadline = self._clock() + AGEING * cost_seconds
        stop = bisect_right(self._expensive, deadline, key=lambda entry: entry.deadline)
        return sum(entry.cost_seconds for entry in self._expensive[:stop])

    @property
    def is_expensive_due(self) -> bool:
        """Whether the deadline of an expensive source has passed."""
        return bool(self._expensive) and self._expensive[0].deadline <= self._clock()

    def add(self, source: TaskSource) -> None:
        """Add a source unless it is queued already."""
        if source not in self._cheap and source not in self._expensive_entries:
            self._append(source)

    def _append(self, source: TaskSource) -> None:
        cost = source.cost_seconds
        if cost <= EXPENSIVE_SECONDS:
            self._cheap[source] = None
            return
        since = source.waiting_since
        deadline = (self._clock() if since is None else since) + AGEING * cost
        entry = _ExpensiveEntry(deadline, next(self._numbers), cost, source)
        insort(self._expensive, entry)
        self._expensive_entries[source] = entry
        self.expensive_seconds += cost

    def add_background(self, source: TaskSource) -> None:
        """Add a source whose tasks are taken when no other task waits."""
        self._background[source] = None

    def discard(self, source: TaskSource) -> None:
        """Remove a source if it is queued."""
        self._cheap.pop(source, None)
        self._background.pop(source, None)
        entry = self._expensive_entries.get(source)
        if entry is not None:
            self._remove_expensive(bisect_left(self._expensive, entry))

    def _remove_expensive(self, index: int) -> TaskSource:
        entry = self._expensive.pop(index)
        del self._expensive_entries[entry.source]
        # Resetting the sum when the queue is empty keeps rounding errors from accumulating.
        self.expensive_seconds = (
            self.expensive_seconds - entry.cost_seconds if self._expensive else 0.0
        )
        return entry.source

    def put_back(self, task: Task) -> None:
        """Put a task back at the front of the queue after its worker died."""
        self._put_back.append(task)

    def pop(self, accepts_expensive: bool = True) -> Task | None:
        """Return the next task, or None if none waits.

        Args:
            accepts_expensive: Whether the task may be expensive.
        """
        for task in self._put_back:
            if accepts_expensive or not task.is_expensive:
                self._put_back.remove(task)
                return task
        if accepts_expensive and self._is_expensive_next and self.is_expensive_due:
            expensive = self._pop_expensive()
            if expensive is not None:
                return expensive
        cheap = self._pop_cheap()
        if cheap is not None:
            self._is_expensive_next = True
            return cheap
        return self._pop_expensive() if accepts_expensive else None

    def _pop_cheap(self) -> Task | None:
        while self._cheap:
            source = _pop_first(self._cheap)
            if source.cost_seconds > EXPENSIVE_SECONDS:  # its next block has become expensive
                self._append(source)
                continue
            task = source.next_task()
            if task is not None:
                self._append(source)
                return task
        return None

    def _pop_expensive(self) -> Task | None:
        self._is_expensive_next = False
        while self._expensive:
            source = self._remove_expensive(0)
            task = source.next_task()
            if task is not None:
                self._append(source)
                return task
        return None

    def pop_background(self) -> Task | None:
        """Return the next background task, or None if none waits."""
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
