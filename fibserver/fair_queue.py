"""A fair queue: who gets the next free worker.

Each *source* is something that still lacks blocks, as a rule an answer. Sources take turns, a
block a turn, so a huge answer delays a small one by no more than a block each. Heavy blocks
take turns with the others, but only where the worker pool has a worker to spare for them. A task
whose worker died goes ahead of all turns: somebody has waited for it longest. What need not be
done soon stands in the background, and is taken when nobody waits.
"""

from collections import deque
from typing import Protocol

from fibserver.blocks import Task

__all__ = ["FairQueue", "TaskSource"]


class TaskSource(Protocol):
    """Something that still needs blocks filled, loaded or saved."""

    @property
    def is_heavy(self) -> bool:
        """Whether its next block is a heavy one."""

    def next_task(self) -> Task | None:
        """Return the next thing to do, or None if there is nothing to hand out at present."""


class FairQueue:
    """Tasks for workers, taken round-robin from their sources."""

    def __init__(self) -> None:
        self._put_back: deque[Task] = deque()
        # In the order of their turns.
        self._light: dict[TaskSource, None] = {}
        self._heavy: dict[TaskSource, None] = {}
        self._background: dict[TaskSource, None] = {}
        self._is_heavy_turn = False

    def add(self, source: TaskSource) -> None:
        """Give a source a turn, after those that already wait; it keeps one that it has."""
        if source not in self._light and source not in self._heavy:
            self._lane_of(source)[source] = None

    def add_background(self, source: TaskSource) -> None:
        """Give a source a turn whenever nothing else waits."""
        self._background[source] = None

    def discard(self, source: TaskSource) -> None:
        """Forget a source, if it still waits."""
        self._light.pop(source, None)
        self._heavy.pop(source, None)
        self._background.pop(source, None)

    def put_back(self, task: Task) -> None:
        """Take back a task whose worker died, to be the next handed out."""
        self._put_back.append(task)

    def take(self, accepts_heavy: bool = True) -> Task | None:
        """Return the next task, or None if nothing waits.

        Args:
            accepts_heavy: whether it may be a heavy one.
        """
        for task in self._put_back:
            if accepts_heavy or not task.block.is_heavy:
                self._put_back.remove(task)
                return task
        lanes = [self._light, self._heavy] if accepts_heavy else [self._light]
        if self._is_heavy_turn:
            lanes.reverse()
        for lane in lanes:
            task_in_turn = self._take_from(lane)
            if task_in_turn is not None:
                self._is_heavy_turn = lane is self._light
                return task_in_turn
        return None

    def take_background(self) -> Task | None:
        """Return the next task of the background, or None if nothing waits there."""
        return self._take_from(self._background)

    def _take_from(self, lane: dict[TaskSource, None]) -> Task | None:
        while lane:
            source = next(iter(lane))
            del lane[source]
            task = source.next_task()
            if task is not None:
                following = lane if lane is self._background else self._lane_of(source)
                following[source] = None
                return task
        return None

    def _lane_of(self, source: TaskSource) -> dict[TaskSource, None]:
        return self._heavy if source.is_heavy else self._light
