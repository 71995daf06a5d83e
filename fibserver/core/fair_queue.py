"""Fair queue of tasks for the workers: cheap tasks first, then the shortest expensive one.

A *source* yields tasks for blocks that it needs; usually it is the stream of a slice. A source is
expensive (*dear*) if its next block is predicted to take longer than `DEAR_SECONDS`, else cheap.

Cheap sources are served round-robin, one block each, so a huge cheap slice delays a small one by
at most one block per source. Dear sources are ordered by a virtual deadline: the time when the
client began to wait, plus `AGEING` times the predicted cost. This combines shortest-job-first with
ageing: a source is overtaken only by cheaper ones that arrive within `AGEING` times the difference
in cost. The order never changes as time passes, because all sources age equally.

Cheap tasks go first. Once its deadline has passed, a dear task alternates with cheap ones, so that
no number of cheap tasks starves it. The worker pool reserves one worker for cheap tasks: it takes
with `accepts_dear=False`, so cheap tasks never wait for dear ones there.

A task whose worker died goes first, because its client has waited longest. Background tasks, which
no client waits for, are taken when no other task waits.
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
"""For this many times its own predicted cost, a dear source is overtaken by cheaper ones. With
default settings F(10**7) costs most: it is overtaken for 4 s, and its client waits up to 60 s."""


class TaskSource(Protocol):
    """Source of tasks: needs blocks to be filled, loaded or saved."""

    @property
    def cost_seconds(self) -> float:
        """Predicted time that a worker needs for its next block."""

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait for the first byte, None if no client does."""

    def next_task(self) -> Task | None:
        """Return the next task, or None if none can be given out now."""


class _DearEntry(NamedTuple):
    """A queued dear source; entries compare by deadline, then by order of arrival."""

    deadline: float
    number: int
    cost_seconds: float
    source: TaskSource


class FairQueue:
    """Queue of sources, from which workers take tasks.

    Attributes:
        dear_seconds: Predicted cost of one block of each queued dear source, in total.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Create an empty queue.

        Args:
            clock: Returns the monotonic time in seconds.
        """
        self.dear_seconds = 0.0
        self._clock = clock
        self._put_back: deque[Task] = deque()
        self._cheap: dict[TaskSource, None] = {}  # in round-robin order
        self._dear: list[_DearEntry] = []  # sorted
        self._dear_entries: dict[TaskSource, _DearEntry] = {}
        self._background: dict[TaskSource, None] = {}
        self._numbers = count()
        self._is_dear_turn = False

    @property
    def cheap_sources(self) -> int:
        """Number of queued cheap sources."""
        return len(self._cheap)

    @property
    def dear_sources(self) -> int:
        """Number of queued dear sources."""
        return len(self._dear)

    def dear_seconds_before(self, cost_seconds: float) -> float:
        """Return the part of `dear_seconds` that would be served before a new source.

        Args:
            cost_seconds: Predicted cost of the new source's first block.
        """
        deadline = self._clock() + AGEING * cost_seconds
        stop = bisect_right(self._dear, deadline, key=lambda entry: entry.deadline)
        return sum(entry.cost_seconds for entry in self._dear[:stop])

    @property
    def is_dear_due(self) -> bool:
        """Whether the deadline of a dear source has passed."""
        return bool(self._dear) and self._dear[0].deadline <= self._clock()

    def add(self, source: TaskSource) -> None:
        """Add a source unless it is queued already."""
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
        """Add a source whose tasks are taken when no other task waits."""
        self._background[source] = None

    def discard(self, source: TaskSource) -> None:
        """Remove a source if it is queued."""
        self._cheap.pop(source, None)
        self._background.pop(source, None)
        entry = self._dear_entries.get(source)
        if entry is not None:
            self._remove_dear(bisect_left(self._dear, entry))

    def _remove_dear(self, index: int) -> TaskSource:
        entry = self._dear.pop(index)
        del self._dear_entries[entry.source]
        # Resetting the sum when the queue is empty keeps rounding errors from accumulating.
        self.dear_seconds = self.dear_seconds - entry.cost_seconds if self._dear else 0.0
        return entry.source

    def put_back(self, task: Task) -> None:
        """Return a task whose worker died to the front of the queue."""
        self._put_back.append(task)

    def take(self, accepts_dear: bool = True) -> Task | None:
        """Return the next task, or None if none waits.

        Args:
            accepts_dear: Whether the task may be dear.
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
            if source.cost_seconds > DEAR_SECONDS:  # its next block has become dear
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
