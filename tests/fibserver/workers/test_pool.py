"""The worker pool: dispatch, priority, and shortages while workers are started."""

import errno
import logging
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibcommon.formats import FORMATS
from fibserver.core.event_loop import EventLoop
from fibserver.core.fair_queue import FairQueue
from fibserver.memory.blocks import Action, Block, Task
from fibserver.workers.pool import NICENESS, WorkerPool
from fibserver.workers.worker import Outcome, Report, decode_task, encode_report
from tests.support.small_engine import FakeClock

TEXT = FORMATS["text"]
CHEAP, EXPENSIVE = (Task(Action.FILL, Block(TEXT, n, n + 1, 0, 2)) for n in (1, 9_000_000))

MOST_TURNS = 100
"""Maximum loop iterations of a second each; far more than any test needs."""


class EndlessSource:
    """A source that returns the same task forever."""

    waiting_since = None

    def __init__(self, task: Task) -> None:
        self._task = task
        self.cost_seconds = task.block.cost_seconds

    def next_task(self) -> Task:
        """Return the task."""
        return self._task


class Pool:
    """A pool whose workers finish a task when the test allows it.

    Attributes:
        clock: The queue's clock.
        queue: The queue of tasks.
        pool: The pool.
        done: The tasks that are done.
        overcounted_bytes: What workers report after a probe; they inherit it when they start.
        loop: The event loop of the pool.
    """

    def __init__(self, size: int) -> None:
        self._gate, self._key = os.pipe()
        self.clock = FakeClock()
        self.queue = FairQueue(self.clock)
        self.loop = EventLoop()
        self.done: list[Task] = []
        self.overcounted_bytes = (0, 0)
        self.pool = WorkerPool(
            size, self.queue, self, self.loop.register, self.loop.unregister, self._work
        )

    def _work(self, channel: socket.socket) -> None:
        os.close(self._key)
        while (message := channel.recv(1024)) and os.read(self._gate, 1):
            is_probe = decode_task(message).action is Action.PROBE
            results = self.overcounted_bytes if is_probe else (1, 2)
            channel.send(encode_report(Report(Outcome.DONE, results=results)))

    def task_done(self, task: Task, report: Report) -> None:
        """Record the task."""
        self.done.append(task)

    def task_given_up(self, task: Task, reason: str) -> None:
        """Fail: no worker dies here."""
        raise AssertionError(reason)

    def finish_tasks(self, count: int) -> None:
        """Let workers finish `count` tasks."""
        os.write(self._key, bytes(count))
        wanted = len(self.done) + count
        for _ in range(MOST_TURNS):
            if len(self.done) >= wanted:
                return
            self.loop.run_once(1.0)
        raise AssertionError("no worker finishes its task")

    def finish_probe(self) -> None:
        """Let the only worker respond to a probe."""
        os.write(self._key, bytes(1))
        for _ in range(MOST_TURNS):
            if not self.pool.assigned_tasks:
                return
            self.loop.run_once(1.0)
        raise AssertionError("the worker does not respond to the probe")

    def close(self) -> None:
        """Stop the workers and close the loop."""
        self.pool.close()
        self.loop.close()
        os.close(self._gate)
        os.close(self._key)


@pytest.fixture
def make_pool() -> Iterator[Callable[[int], Pool]]:
    """Create pools and close them after the test."""
    with ExitStack() as stack:

        def make(size: int) -> Pool:
            pool = Pool(size)
            stack.callback(pool.close)
            return pool

        yield make


def test_probes_report_overcounted_memory(
    make_pool: Callable[[int], Pool],
) -> None:
    """Only the outcomes of probes report overcounted memory."""
    pool = make_pool(1)
    pool.overcounted_bytes = (5_000_000, -3)
    pool.pool.ensure_workers()
    pool.queue.add(EndlessSource(CHEAP))
    pool.pool.dispatch()
    pool.finish_tasks(2)
    assert pool.pool.workers[0].overcounted_bytes == pool.pool.acceptor_overcounted_bytes == 0
    assert pool.pool.assigned_tasks == 0
    pool.pool.check(1000.0)
    assert pool.pool.assigned_tasks == 1
    pool.finish_probe()
    assert pool.pool.workers[0].overcounted_bytes == 5_000_000
    assert pool.pool.acceptor_overcounted_bytes == -3


# Dispatch.


@pytest.mark.parametrize(("workers", "expensive"), [(1, 1), (2, 1), (4, 3)])
def test_a_worker_is_kept_free_of_expensive_tasks(
    make_pool: Callable[[int], Pool], workers: int, expensive: int
) -> None:
    """However many expensive tasks wait, one of several workers does only cheap ones."""
    pool = make_pool(workers)
    pool.pool.ensure_workers()
    for _ in range(workers):
        pool.queue.add(EndlessSource(EXPENSIVE))
    pool.pool.dispatch()
    assert pool.pool.assigned_tasks == pool.pool.expensive_workers == expensive
    assert pool.pool.assigned_expensive_seconds == expensive * EXPENSIVE.block.cost_seconds
    pool.queue.add(EndlessSource(CHEAP))
    pool.pool.dispatch()
    assert pool.pool.assigned_tasks == (1 if workers == 1 else expensive + 2)


def test_an_overdue_expensive_task_gets_a_worker(make_pool: Callable[[int], Pool]) -> None:
    """An endless supply of cheap tasks does not keep an overdue expensive one waiting."""
    pool = make_pool(2)
    pool.pool.ensure_workers()
    pool.queue.add(EndlessSource(CHEAP))
    pool.queue.add(EndlessSource(EXPENSIVE))
    pool.pool.dispatch()
    assert pool.pool.assigned_tasks == 4, "each worker has a second task"
    pool.clock.now += 1000
    tasks_until_idle = 3
    while not pool.pool.assigned_expensive_seconds and tasks_until_idle:
        pool.finish_tasks(1)
        pool.pool.dispatch()
        tasks_until_idle -= 1
    assert pool.pool.assigned_expensive_seconds == EXPENSIVE.block.cost_seconds
    assert pool.pool.assigned_tasks == 3, "the other worker has a second task"


def test_pace(make_pool: Callable[[int], Pool]) -> None:
    """The pace follows the measured time of expensive blocks only."""
    pool = make_pool(1)
    pool.pool.ensure_workers()
    for task, is_measured in ((CHEAP, False), (EXPENSIVE, True)):
        source = EndlessSource(task)
        pool.queue.add(source)
        pool.pool.dispatch()
        pool.queue.discard(source)
        cost_ratio = pool.pool.cost_ratio
        pool.finish_tasks(pool.pool.assigned_tasks)
        assert (pool.pool.cost_ratio != cost_ratio) == is_measured
    assert pool.pool.cost_ratio < cost_ratio, "these workers compute nothing"


# Priority.


def test_workers_are_nice(make_pool: Callable[[int], Pool]) -> None:
    """Workers run at a lower priority than this process."""
    pool = make_pool(2)
    pool.pool.ensure_workers()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    for worker in pool.pool.workers:
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(19, ours + NICENESS)


def test_a_priority_that_may_not_be_lowered(
    make_pool: Callable[[int], Pool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If setpriority is forbidden, workers start all the same, and it is logged once."""

    def refuse(which: int, who: int, priority: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "setpriority", refuse)
    pool = make_pool(3)
    pool.pool.ensure_workers()
    assert len(pool.pool.workers) == 3
    assert len(caplog.records) == 1
    assert "priority" in caplog.text


# Temporary shortages.


def descriptors() -> set[str]:
    """The open descriptors of this process."""
    return {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_no_process_can_be_started(
    make_pool: Callable[[int], Pool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    """A failed fork is retried, leaks no descriptors, and succeeds when the shortage is over."""
    pool = make_pool(2)

    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", refuse)
        for _ in range(3):
            pool.pool.ensure_workers()
        assert pool.pool.workers == []
        pool.queue.add(EndlessSource(CHEAP))
        pool.pool.dispatch()
    assert descriptors() == before
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    pool.pool.ensure_workers()
    pool.pool.dispatch()
    assert len(pool.pool.workers) == 2
    pool.finish_tasks(1)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError()], ids=repr
)
def test_a_worker_that_cannot_be_watched(
    make_pool: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A new worker whose channel cannot be registered is killed, and nothing leaks."""
    pool = make_pool(1)

    def refuse(fd: int, handler: object) -> None:
        raise error

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(pool.pool, "_register", refuse)
        pool.pool.ensure_workers()
    assert descriptors() == before
    assert pool.pool.workers == []
    pool.pool.ensure_workers()
    assert len(pool.pool.workers) == 1


def test_a_fault_while_a_worker_is_started(
    make_pool: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error is raised, and leaves no worker without a registered channel."""
    pool = make_pool(1)

    def fail(fd: int, handler: object) -> None:
        raise ZeroDivisionError

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(pool.pool, "_register", fail)
        with pytest.raises(ZeroDivisionError):
            pool.pool.ensure_workers()
    assert descriptors() == before
    assert multiprocessing.active_children() == []
    assert pool.pool.workers == []
