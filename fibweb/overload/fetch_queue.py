"""Queue of fetches, bounded in length and waiting time, cheapest first.

The predicted cost of a fetch determines its order and whether it is accepted.

- Waiters for the same bytes share one fetch.
- A fetch is cheap or expensive (`fibcommon.costs.EXPENSIVE_SECONDS`). Expensive fetches use at
  most half of the threads, if there are several, so a cheap one never waits for an expensive one.
  If expensive fetches wait and none runs, the next free thread takes one of them, so a stream of
  cheap ones does not starve them.
- Within each class the fetch with the earliest virtual deadline runs first: arrival time plus a
  multiple of the cost. Among fetches that arrive together that is shortest job first. Over time it
  is ageing: a fetch is overtaken for at most that multiple of its own cost.
- A fetch is rejected if its predicted wait, scaled by the measured duration of recent fetches, is
  too long, or if there are too many waiters. A fetch that does not start in time expires.

Handing a fetch to a thread and back takes longer than most cheap fetches themselves. So one thread
takes several small ones at a time, as long as they are cheap together.

The queue has no threads and no clock: the caller passes the time, runs the batch that `start_next`
returns and reports its end to `finish`.
"""

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from fibcommon.costs import EXPENSIVE_SECONDS
from fibweb.content.fetch_request import FetchRequest

__all__ = ["MAX_WAITERS", "MAX_WAIT_SECONDS", "Batch", "FetchQueue", "Job", "JobState", "Rejected"]

Waiter = TypeVar("Waiter")

MAX_WAITERS = 1024
"""Maximum number of waiters in each class."""

MAX_WAIT_SECONDS = 5.0
"""Maximum wait for a thread. A request that would wait longer is rejected at once."""

CHEAP_OVERTAKEN_FACTOR = 500.0
EXPENSIVE_OVERTAKEN_FACTOR = 10.0
"""A fetch can be overtaken for at most this many times its own cost: for 5 s if it is a piece of
10 ms, so that hundreds of downloads do not delay small numbers; for 4 s if it is F(10,000,000)."""

STARTED_SECONDS = 5.0
"""Added to the virtual deadline of the next piece of a response in progress."""

DECAY = 0.9
MIN_SCALE, MAX_SCALE = 0.1, 100.0
"""Decay of older measurements, and bounds, of the ratio of measured to predicted time."""

BATCH_JOBS = 64
BATCH_BYTES = 128 * 1024
"""Maximum number of jobs of a batch, and of bytes that they fetch."""

MIN_COMPACTED = 64
"""A smaller heap is not compacted."""


class Rejected(Exception):
    """The queue does not accept a fetch.

    Attributes:
        reason: `full` or `late`.
        wait_seconds: Predicted wait.
    """

    def __init__(self, reason: str, wait_seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


class JobState(Enum):
    """State of a job."""

    QUEUED = auto()
    RUNNING = auto()
    OVER = auto()


@dataclass(slots=True, eq=False)
class Job(Generic[Waiter]):
    """A fetch and its waiters.

    Attributes:
        fetch: Fetch to run.
        added_at: Time of the first waiter.
        state: Whether the job waits, runs or has ended.
        batch: The batch in which it runs.
        waiters: Waiters in the order of arrival.
        is_started: Whether a waiter has sent the beginning of its response. Such a job does not
            expire.
        virtual_deadline: Position in the queue.
    """

    fetch: FetchRequest
    added_at: float
    state: JobState = JobState.QUEUED
    batch: "Batch[Waiter] | None" = None
    waiters: dict[Waiter, None] = field(default_factory=dict)
    is_started: bool = False
    virtual_deadline: float = field(init=False)

    def __post_init__(self) -> None:
        factor = EXPENSIVE_OVERTAKEN_FACTOR if self.is_expensive else CHEAP_OVERTAKEN_FACTOR
        started = STARTED_SECONDS if self.is_started else 0.0
        self.virtual_deadline = self.added_at + factor * self.fetch.cost_seconds + started

    @property
    def is_expensive(self) -> bool:
        """Whether its cost exceeds `EXPENSIVE_SECONDS`."""
        return self.fetch.cost_seconds > EXPENSIVE_SECONDS

    def __lt__(self, other: "Job[Waiter]") -> bool:
        return self.virtual_deadline < other.virtual_deadline


@dataclass(slots=True, eq=False)
class Batch(Generic[Waiter]):
    """Jobs that one thread runs: a single one, or several small ones that are cheap together.

    Attributes:
        jobs: The jobs.
        started_at: Time at which they began to run.
        cost_seconds: Sum of their predicted costs.
    """

    jobs: list[Job[Waiter]]
    started_at: float
    cost_seconds: float


class _CostClass(Generic[Waiter]):
    """Queue of the cheap jobs or of the expensive ones."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.running = 0
        self.running_cost = 0.0
        self.waiting = 0
        self._measured = self._predicted = EXPENSIVE_SECONDS  # a small weight on a ratio of 1
        self._heap: list[Job[Waiter]] = []
        self._compact_at = MIN_COMPACTED

    def __iter__(self) -> Iterator[Job[Waiter]]:
        return (job for job in self._heap if job.state is JobState.QUEUED)

    def push(self, job: Job[Waiter]) -> None:
        if len(self._heap) >= self._compact_at:  # most entries may be of removed jobs
            self._heap = sorted(self)
            self._compact_at = max(MIN_COMPACTED, 2 * len(self._heap))
        heapq.heappush(self._heap, job)

    @property
    def head(self) -> Job[Waiter] | None:
        while self._heap and self._heap[0].state is not JobState.QUEUED:
            heapq.heappop(self._heap)  # its last waiter was removed
        return self._heap[0] if self._heap else None

    def pop(self) -> Job[Waiter]:
        """Remove and return the head."""
        return heapq.heappop(self._heap)

    def wait_seconds(self, job: Job[Waiter]) -> float:
        """Return the predicted wait of a job."""
        deadline = job.virtual_deadline
        ahead = sum(
            other.fetch.cost_seconds for other in self if other.virtual_deadline <= deadline
        )
        if not ahead and self.running < self.threads:
            return 0.0
        scale = min(max(self._measured / self._predicted, MIN_SCALE), MAX_SCALE)
        return scale * (ahead + self.running_cost) / self.threads

    def record(self, predicted_seconds: float, seconds: float) -> None:
        self._measured = DECAY * self._measured + seconds
        self._predicted = DECAY * self._predicted + predicted_seconds


class FetchQueue(Generic[Waiter]):
    """Queue of fetches that wait or run."""

    def __init__(self, threads: int) -> None:
        """Create an empty queue.

        Args:
            threads: Maximum number of fetches that run at the same time, >= 1.
        """
        self._threads = threads
        self._cheap: _CostClass[Waiter] = _CostClass(threads)
        self._expensive: _CostClass[Waiter] = _CostClass(max(1, threads // 2))
        self._jobs: dict[Hashable, Job[Waiter]] = {}
        self._by_waiter: dict[Waiter, Job[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Number of waiters whose jobs do not run yet."""
        return self._cheap.waiting + self._expensive.waiting

    @property
    def running(self) -> int:
        """Number of running batches."""
        return self._cheap.running + self._expensive.running

    def add(
        self, fetch: FetchRequest, waiter: Waiter, now: float, *, is_started: bool = False
    ) -> None:
        """Add a waiter for a fetch.

        Args:
            fetch: Fetch to wait for.
            waiter: A waiter that waits for no other fetch.
            now: Current time in seconds.
            is_started: Whether the beginning of the response has been sent. Such a fetch is always
                accepted; each connection has at most one of them.

        Raises:
            Refused: The wait would be too long, or there are too many waiters.
        """
        job = self._jobs.get(fetch.key)
        is_new = job is None
        if job is None:
            job = Job(fetch, now, is_started=is_started)
        kind = self._class_of(job)
        if job.state is JobState.QUEUED:
            if not is_started and kind.waiting >= MAX_WAITERS:
                raise Rejected("full", MAX_WAIT_SECONDS)
            if is_new and not is_started:
                wait_seconds = kind.wait_seconds(job)
                if wait_seconds > MAX_WAIT_SECONDS:
                    raise Rejected("late", wait_seconds)
            kind.waiting += 1
        if is_new:
            self._jobs[fetch.key] = job
            kind.push(job)
        job.is_started |= is_started
        job.waiters[waiter] = None
        self._by_waiter[waiter] = job

    def _class_of(self, job: Job[Waiter]) -> _CostClass[Waiter]:
        return self._expensive if job.is_expensive else self._cheap

    def start_next(self, now: float) -> Batch[Waiter] | None:
        """Start the next batch and return it, or return None if no job may run now."""
        if self.running >= self._threads:
            return None
        for kind in self._order():
            job = kind.head
            if job is not None and kind.running < kind.threads:
                jobs = [job] if job.is_expensive else self._small_jobs(job)
                batch = Batch(jobs, now, sum(job.fetch.cost_seconds for job in jobs))
                for job in jobs:
                    job.state = JobState.RUNNING
                    job.batch = batch
                    kind.waiting -= len(job.waiters)
                kind.running += 1
                kind.running_cost += batch.cost_seconds
                return batch
        return None

    def _small_jobs(self, first: Job[Waiter]) -> list[Job[Waiter]]:
        """Take the first cheap job from the queue, and those after it that fit into a batch."""
        jobs = [self._cheap.pop()]
        read, cost_seconds, size_bytes = first.fetch.read, 0.0, 0
        while read is not None and len(jobs) < BATCH_JOBS:
            cost_seconds += jobs[-1].fetch.cost_seconds
            size_bytes += jobs[-1].fetch.size_bytes
            fetch = self._cheap.head and self._cheap.head.fetch
            if not fetch or fetch.read is None or fetch.read.client is not read.client:
                break
            if cost_seconds + fetch.cost_seconds > EXPENSIVE_SECONDS:
                break
            if size_bytes + fetch.size_bytes > BATCH_BYTES:
                break
            jobs.append(self._cheap.pop())
        return jobs

    def _order(self) -> tuple[_CostClass[Waiter], _CostClass[Waiter]]:
        if self._threads == 1:
            heads = self._cheap.head, self._expensive.head
            is_expensive_first = None not in heads and heads[1] < heads[0]  # type: ignore[operator]
        else:
            is_expensive_first = not self._expensive.running
        order = (self._cheap, self._expensive)
        return order[::-1] if is_expensive_first else order

    def finish(self, batch: Batch[Waiter], now: float, *, is_success: bool) -> list[list[Waiter]]:
        """Record the end of a batch and return the waiters of each of its jobs.

        Args:
            batch: Batch from `start_next`.
            now: Current time in seconds.
            is_success: Whether the duration counts as a measurement.
        """
        kind = self._class_of(batch.jobs[0])
        kind.running -= 1
        kind.running_cost = kind.running and kind.running_cost - batch.cost_seconds
        if is_success:
            kind.record(batch.cost_seconds, now - batch.started_at)
        return [self._end(job) for job in batch.jobs]

    def _end(self, job: Job[Waiter]) -> list[Waiter]:
        job.state = JobState.OVER
        if self._jobs.get(job.fetch.key) is job:
            del self._jobs[job.fetch.key]
        waiters = list(job.waiters)
        job.waiters.clear()
        for waiter in waiters:
            del self._by_waiter[waiter]
        return waiters

    def remove(self, waiter: Waiter) -> Batch[Waiter] | None:
        """Remove a waiter, if it waits.

        Returns:
            The batch to cancel if it runs and has no other waiter, else None.
        """
        job = self._by_waiter.pop(waiter, None)
        if job is None:
            return None
        del job.waiters[waiter]
        if job.state is JobState.QUEUED:
            self._class_of(job).waiting -= 1
        if job.waiters:
            return None
        if job.batch is None:
            self._end(job)
            return None
        if any(other.waiters for other in job.batch.jobs):
            return None
        for other in job.batch.jobs:
            # A later waiter for the same bytes needs a new job.
            if self._jobs.get(other.fetch.key) is other:
                del self._jobs[other.fetch.key]
        return job.batch

    def expired(self, now: float) -> list[tuple[FetchRequest, Waiter]]:
        """Remove and return the waiters whose jobs have not started in time."""
        late = [
            job
            for job in self._jobs.values()
            if job.state is JobState.QUEUED
            and not job.is_started
            and now - job.added_at > MAX_WAIT_SECONDS
        ]
        for job in late:
            self._class_of(job).waiting -= len(job.waiters)
        return [(job.fetch, waiter) for job in late for waiter in self._end(job)]
