"""Queue of fetches: which may wait, for how long, and which runs next.

The cost of every fetch is known before it runs, so the queue orders by it and bounds itself by it.

- Those who want the same bytes share one fetch.
- A fetch is cheap or dear (`fibclient.costs.DEAR_SECONDS`). Dear fetches take at most half of the
  threads, so a cheap one never waits for a dear one; and one thread is theirs when they wait, so
  a stream of cheap ones does not starve them.
- Within each class the one with the earliest virtual deadline runs first: its arrival plus ten
  times its cost. That is shortest job first for those that arrive together, and ageing for those
  that do not: a fetch is overtaken for ten times its own cost and no longer.
- The predicted wait of a newcomer, scaled by what recent fetches really took, bounds the queue in
  time; the number of those who wait bounds it in length. Beyond either it refuses at once. One
  that has waited for too long all the same is refused then.

It knows no threads and no clock: the caller says what time it is, runs what `take` returns and
reports it to `finish`.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from fibclient.costs import DEAR_SECONDS
from fibweb.fetch import Fetch

__all__ = ["MAX_WAITERS", "MAX_WAIT_SECONDS", "FetchQueue", "Job", "JobState", "Refused"]

Waiter = TypeVar("Waiter")

MAX_WAITERS = 1024
MAX_WAIT_SECONDS = 5.0
"""Whoever waits longer for its turn had better be told at once to come back later."""

OVERTAKEN_FACTOR = 10.0

SCALE_WEIGHT = 0.2
MIN_SCALE, MAX_SCALE = 0.1, 100.0
"""How fast the measured ratio of real to predicted time follows, and its bounds."""


class Refused(Exception):
    """There is no place in the queue.

    Attributes:
        reason: `full` or `late`.
        wait_seconds: how long the wait would have been.
    """

    def __init__(self, reason: str, wait_seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


class JobState(Enum):
    """How far a job has come."""

    QUEUED = auto()
    RUNNING = auto()
    OVER = auto()


@dataclass(slots=True, eq=False)
class Job(Generic[Waiter]):
    """A fetch and those who wait for it.

    Attributes:
        fetch: what to run.
        added_at: when the first of them came.
        state: how far it has come.
        started_at: when it began to run.
        waiters: who waits, in the order of arrival.
    """

    fetch: Fetch
    added_at: float
    state: JobState = JobState.QUEUED
    started_at: float = 0.0
    waiters: dict[Waiter, None] = field(default_factory=dict)

    @property
    def is_dear(self) -> bool:
        """Whether it may take far longer than others."""
        return self.fetch.cost_seconds > DEAR_SECONDS

    @property
    def virtual_deadline(self) -> float:
        """What orders the queue."""
        return self.added_at + OVERTAKEN_FACTOR * self.fetch.cost_seconds

    def __lt__(self, other: "Job[Waiter]") -> bool:
        return self.virtual_deadline < other.virtual_deadline


class _Class(Generic[Waiter]):
    """The cheap jobs, or the dear ones."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.running = 0
        self.scale = 1.0
        self._heap: list[Job[Waiter]] = []

    def __iter__(self) -> Iterator[Job[Waiter]]:
        return (job for job in self._heap if job.state is JobState.QUEUED)

    def push(self, job: Job[Waiter]) -> None:
        heapq.heappush(self._heap, job)

    @property
    def head(self) -> Job[Waiter] | None:
        while self._heap and self._heap[0].state is not JobState.QUEUED:
            heapq.heappop(self._heap)  # its last waiter has left
        return self._heap[0] if self._heap else None

    def wait_seconds(self, job: Job[Waiter]) -> float:
        """Return how long a job would wait for its turn."""
        ahead = sum(each.fetch.cost_seconds for each in self if not job < each)
        return self.scale * ahead / self.threads

    def learn(self, predicted_seconds: float, seconds: float) -> None:
        ratio = seconds / predicted_seconds
        scale = self.scale + SCALE_WEIGHT * (ratio - self.scale)
        self.scale = min(max(scale, MIN_SCALE), MAX_SCALE)


class FetchQueue(Generic[Waiter]):
    """The fetches that wait or run.

    Attributes:
        waiting: how many waiters wait for a job that does not run yet.
    """

    def __init__(self, threads: int) -> None:
        """Start with nothing.

        Args:
            threads: how many fetches may run at a time, >= 1.
        """
        self.waiting = 0
        self._threads = threads
        self._cheap: _Class[Waiter] = _Class(threads)
        self._dear: _Class[Waiter] = _Class(max(1, threads // 2))
        self._jobs: dict[Fetch, Job[Waiter]] = {}
        self._by_waiter: dict[Waiter, Job[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def running(self) -> int:
        """How many jobs run."""
        return self._cheap.running + self._dear.running

    def add(self, fetch: Fetch, waiter: Waiter, now: float) -> None:
        """Let a waiter wait for a fetch.

        Args:
            fetch: what it needs.
            waiter: who waits, for nothing else yet.
            now: the time, in seconds.

        Raises:
            Refused: it would wait for too long, or too many wait already.
        """
        job = self._jobs.get(fetch)
        if job is None or job.state is JobState.QUEUED:
            if self.waiting >= MAX_WAITERS:
                raise Refused("full", MAX_WAIT_SECONDS)
            if job is None:
                job = self._new_job(fetch, now)
            self.waiting += 1
        job.waiters[waiter] = None
        self._by_waiter[waiter] = job

    def _new_job(self, fetch: Fetch, now: float) -> Job[Waiter]:
        job: Job[Waiter] = Job(fetch, now)
        kind = self._class_of(job)
        wait_seconds = kind.wait_seconds(job)
        if wait_seconds > MAX_WAIT_SECONDS:
            raise Refused("late", wait_seconds)
        self._jobs[fetch] = job
        kind.push(job)
        return job

    def _class_of(self, job: Job[Waiter]) -> _Class[Waiter]:
        return self._dear if job.is_dear else self._cheap

    def take(self, now: float) -> Job[Waiter] | None:
        """Return the next job to run; None if none may run now."""
        if self.running >= self._threads:
            return None
        for kind in self._order():
            job = kind.head
            if job is not None and kind.running < kind.threads:
                job.state = JobState.RUNNING
                job.started_at = now
                kind.running += 1
                self.waiting -= len(job.waiters)
                return job
        return None

    def _order(self) -> tuple[_Class[Waiter], _Class[Waiter]]:
        if self._threads == 1:
            heads = self._cheap.head, self._dear.head
            is_dear_first = None not in heads and heads[1] < heads[0]  # type: ignore[operator]
        else:
            is_dear_first = not self._dear.running
        return (self._dear, self._cheap) if is_dear_first else (self._cheap, self._dear)

    def finish(self, job: Job[Waiter], now: float, *, is_success: bool) -> list[Waiter]:
        """Note the end of a job that ran; return who waited for it.

        Args:
            job: from `take`.
            now: the time, in seconds.
            is_success: whether its duration says how long such a fetch takes.
        """
        kind = self._class_of(job)
        kind.running -= 1
        if is_success:
            kind.learn(job.fetch.cost_seconds, now - job.started_at)
        return self._end(job)

    def _end(self, job: Job[Waiter]) -> list[Waiter]:
        job.state = JobState.OVER
        if self._jobs.get(job.fetch) is job:
            del self._jobs[job.fetch]
        waiters = list(job.waiters)
        job.waiters.clear()
        for waiter in waiters:
            del self._by_waiter[waiter]
        return waiters

    def remove(self, waiter: Waiter) -> Job[Waiter] | None:
        """Forget a waiter, if it waits.

        Returns:
            a job that still runs though nobody waits for it any more, to be cancelled.
        """
        job = self._by_waiter.pop(waiter, None)
        if job is None:
            return None
        del job.waiters[waiter]
        if job.state is JobState.QUEUED:
            self.waiting -= 1
        if job.waiters:
            return None
        was_running = job.state is JobState.RUNNING
        if was_running:
            del self._jobs[job.fetch]  # who wants the same now begins anew
        else:
            self._end(job)
        return job if was_running else None

    def expired(self, now: float) -> list[tuple[Fetch, Waiter]]:
        """Forget the waiters whose turn has not come in time, and return them."""
        late = [
            job
            for job in self._jobs.values()
            if job.state is JobState.QUEUED and now - job.added_at > MAX_WAIT_SECONDS
        ]
        self.waiting -= sum(len(job.waiters) for job in late)
        return [(job.fetch, waiter) for job in late for waiter in self._end(job)]
