"""Worker pool: runs a fixed number of worker processes and dispatches tasks to them.

                    ┌── socketpair ── worker
    acceptor ───────┼── socketpair ── worker      no lock, queue or semaphore is shared:
                    └── socketpair ── worker      one would die with its holder

`ensure_workers` starts missing workers. `dispatch` gives each worker a task and queues a second
one, so that no worker waits for the acceptor to wake up. A readable socketpair carries an
outcome; its end means that the worker died. A dead worker is reaped and its tasks are dispatched
again; a task over which three workers have died is given up.

A worker with an expensive block holds no other task, and with two or more workers one is kept
free of expensive blocks. So cheap blocks never wait for expensive ones if there are two workers.
While an expensive block is overdue, no second tasks are queued: otherwise many cheap blocks would
leave no worker idle to take it.

A block whose clients have all disconnected is still finished. With the default limit that takes
0.4 s, or 3.5 s in `binary`, and delays only other expensive blocks. Killing the worker would cost
more for all blocks except the largest: a fork, the worker's second task, and code to distinguish
such a death from a crash.

Workers run at a lower priority than the acceptor, so that the event loop responds at once while
all cores compute. The acceptor sets it, so that a refusal is logged once.

A worker that is stopped or hangs is killed before its block is given to another: if it resumed
later, it could overwrite what its part of the arena holds by then. An idle worker is probed every
second and gets no block until it has responded.
"""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import NamedTuple, Protocol

from fibserver.core.fair_queue import FairQueue
from fibserver.memory.blocks import Action, Task
from fibserver.workers.worker import (
    FOR_THE_ACCEPTOR,
    MAX_REPORT_BYTES,
    Outcome,
    Report,
    decode_report,
    encode_task,
)

__all__ = ["MAX_DEATHS", "TaskOwner", "WorkerInfo", "WorkerPool"]

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""Number of worker deaths over a task after which it is given up."""

MAX_ASSIGNED_TASKS = 2
"""Maximum number of tasks of a worker: the current one and the next."""

NICENESS = 5
"""How much is added to the niceness of workers. Next to a busy event loop, a worker gets a quarter
of the core that they share; with 10 it was a tenth, and new small numbers took half a second."""

_SECOND = (Action.FILL, Action.CALCULATE)
"""A worker with another task gets no second one: a disk may hang, and so may the worker."""

WEIGHT = 0.2
"""Weight of the latest expensive block in the moving average of `cost_ratio`."""

_FORK = multiprocessing.get_context("fork")


class TaskOwner(Protocol):
    """Receiver of the outcomes of tasks."""

    def task_done(self, task: Task, report: Report) -> None:
        """Handle the report of a task."""

    def task_given_up(self, task: Task, reason: str) -> None:
        """Handle a task that will not be retried."""


class WorkerInfo(NamedTuple):
    """State of a worker.

    Attributes:
        pid: Its process id.
        is_busy: Whether it has a task other than a probe.
        tasks_done: Number of tasks done since its start, probes included.
        overcounted_bytes: By how much its memory is overcounted
            (`fibserver.core.process_memory`); 0 before it was measured.
    """

    pid: int
    is_busy: bool
    tasks_done: int
    overcounted_bytes: int


class _Worker:
    """A worker process, its channel and its tasks."""

    def __init__(self, process: BaseProcess, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel
        self.tasks: deque[Task] = deque()  # the current one first
        self.tasks_done = 0
        self.overcounted_bytes = 0
        self.working_since = 0.0
        self.was_killed = False

    def end(self) -> int | None:
        """Kill and reap the process; return its exit code."""
        self.channel.close()
        self.process.kill()
        self.process.join()
        exit_code = self.process.exitcode
        self.process.close()
        return exit_code

    @property
    def is_full(self) -> bool:
        return len(self.tasks) >= MAX_ASSIGNED_TASKS or any(
            task.is_expensive or task.action not in _SECOND for task in self.tasks
        )


class WorkerPool:
    """A pool of worker processes.

    Attributes:
        deaths: Number of workers that have died.
        retried: Number of tasks retried after their worker died.
        last_outcome: When a worker last reported an outcome, monotonic, in seconds.
        cost_ratio: Measured time of expensive blocks relative to the prediction, a moving average.
        acceptor_overcounted_bytes: By how much this process's memory is overcounted; 0 before it
            was measured.
    """

    def __init__(
        self,
        size: int,
        queue: FairQueue,
        owner: TaskOwner,
        register: Callable[[int, Callable[[int], None]], None],
        unregister: Callable[[int], None],
        work: Callable[[socket.socket], None],
    ) -> None:
        """Prepare a pool without workers; `ensure_workers` starts them.

        Args:
            size: Number of workers.
            queue: The queue of tasks.
            owner: Receives the outcomes.
            register: Registers a handler to be called when a descriptor becomes readable.
            unregister: Unregisters a descriptor.
            work: Main function of a worker; receives the worker's end of its channel.
        """
        self.deaths = 0
        self.retried = 0
        self.last_outcome = time.monotonic()
        self.cost_ratio = 1.0
        self.acceptor_overcounted_bytes = 0
        self._size = size
        self._queue = queue
        self._owner = owner
        self._register = register
        self._unregister = unregister
        self._work = work
        self._workers: list[_Worker] = []
        self._deaths_by_task: Counter[Task] = Counter()
        self._may_set_priority = True

    @property
    def workers(self) -> list[WorkerInfo]:
        """State of the running workers."""
        return [
            WorkerInfo(
                worker.process.pid or 0,
                any(task.action is not Action.PROBE for task in worker.tasks),
                worker.tasks_done,
                worker.overcounted_bytes,
            )
            for worker in self._workers
        ]

    @property
    def assigned_tasks(self) -> int:
        """Number of tasks that workers hold."""
        return sum(len(worker.tasks) for worker in self._workers)

    @property
    def assigned_expensive_seconds(self) -> float:
        """Predicted cost of the expensive tasks that workers hold."""
        return sum(task.cost_seconds for task in self._expensive_tasks())

    @property
    def expensive_workers(self) -> int:
        """Maximum number of workers that may hold expensive tasks."""
        return max(1, self._size - 1)

    def ensure_workers(self) -> None:
        """Start missing workers, as far as possible.

        A shortage of processes, memory or descriptors is logged; the next call retries.
        """
        while len(self._workers) < self._size:
            try:
                self._spawn()
            except (OSError, MemoryError) as error:
                reason = error or "out of memory"
                log.warning("cannot start a worker: %s; trying again in 1 s", reason)
                return

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ExitStack() as undo:  # on any failure, leave no unregistered worker
            undo.callback(ours.close)
            process = _FORK.Process(
                target=self._work, args=(theirs,), name="fibserver-worker", daemon=True
            )
            worker = _Worker(process, ours)
            unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_ACCEPTOR)
            try:
                with _closing_leaked_pipes(theirs.fileno()):
                    process.start()
                undo.callback(worker.end)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            self._register(ours.fileno(), lambda _events: self._on_readable(worker))
            undo.callback(self._unregister, ours.fileno())
            self._workers.append(worker)
            undo.pop_all()
        self._lower_priority(process.pid or 0)

    def _lower_priority(self, pid: int) -> None:
        if self._may_set_priority:
            try:
                niceness = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
                os.setpriority(os.PRIO_PROCESS, pid, min(niceness, 19))
            except OSError as error:
                self._may_set_priority = False
                log.warning("cannot lower the priority of workers: %s", error)

    def dispatch(self) -> None:
        """Dispatch queued tasks, to idle workers first."""
        while worker := self._least_busy_worker():
            accepts_expensive = self._accepts_expensive()
            if worker.tasks:
                if accepts_expensive and self._queue.is_expensive_due:
                    break
                accepts_expensive = False
            task = self._queue.pop(accepts_expensive)
            if task is None and not worker.tasks:
                task = self._queue.pop_background()
            if task is None:
                break
            self._assign(worker, task)

    def _least_busy_worker(self) -> _Worker | None:
        ready = [worker for worker in self._workers if not worker.is_full]
        return min(ready, key=lambda worker: len(worker.tasks), default=None)

    def _accepts_expensive(self) -> bool:
        return len(self._expensive_tasks()) < self.expensive_workers

    def _expensive_tasks(self) -> list[Task]:
        return [task for worker in self._workers for task in worker.tasks if task.is_expensive]

    def _assign(self, worker: _Worker, task: Task) -> None:
        if not worker.tasks:
            worker.working_since = time.monotonic()
        try:
            worker.channel.send(encode_task(task))
        except (BrokenPipeError, ConnectionResetError):
            self._reap(worker)
            if task.action is not Action.PROBE:
                self._queue.put_back(task)  # after the worker's earlier tasks
        else:
            worker.tasks.append(task)

    def check(self, limit_seconds: float) -> None:
        """Kill workers that exceed the time limit of a task, and probe idle ones.

        Args:
            limit_seconds: Time limit of a task.
        """
        now = time.monotonic()
        for worker in list(self._workers):
            if not worker.tasks:
                self._assign(worker, Task(Action.PROBE))
            elif now - worker.working_since > limit_seconds and not worker.was_killed:
                log.warning(
                    "worker %s sent no outcome for %g s: killed, another one takes its task",
                    worker.process.pid,
                    limit_seconds,
                )
                worker.was_killed = True
                worker.process.kill()  # the end of its channel triggers `_reap`

    def _on_readable(self, worker: _Worker) -> None:
        try:
            message = worker.channel.recv(MAX_REPORT_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # a stale event of a reused descriptor number
        except ConnectionResetError:
            message = b""
        if not message:
            self._reap(worker)
            return
        task = worker.tasks.popleft()  # outcomes arrive in the order of the tasks
        worker.tasks_done += 1
        self.last_outcome = time.monotonic()
        report = decode_report(message)
        if task.action is Action.PROBE:
            worker.overcounted_bytes, self.acceptor_overcounted_bytes = report.results
        if task.is_expensive and report.outcome is Outcome.DONE:
            ratio = (self.last_outcome - worker.working_since) / task.cost_seconds
            self.cost_ratio += WEIGHT * (ratio - self.cost_ratio)
        worker.working_since = self.last_outcome
        self._deaths_by_task.pop(task, None)
        if task.action is not Action.PROBE:
            self._owner.task_done(task, report)

    def _reap(self, worker: _Worker) -> None:
        """Reap a dead worker, retry or give up its tasks, and replace it."""
        self._unregister(worker.channel.fileno())
        self._workers.remove(worker)
        pid = worker.process.pid
        log.warning("worker %s ended with exit code %s", pid, worker.end())
        self.deaths += 1
        tasks = [task for task in worker.tasks if task.action is not Action.PROBE]
        if tasks and tasks[0] is worker.tasks[0]:
            self._retry_or_give_up(tasks.pop(0))
        for task in tasks:
            self._queue.put_back(task)
        if worker.tasks_done or self._deaths_by_task:
            self.ensure_workers()  # else workers may fail at start: retry in the next tick

    def _retry_or_give_up(self, task: Task) -> None:
        self._deaths_by_task[task] += 1
        if self._deaths_by_task[task] < MAX_DEATHS:
            self.retried += 1
            self._queue.put_back(task)
            return
        del self._deaths_by_task[task]
        self._owner.task_given_up(
            task,
            f"{MAX_DEATHS} workers died over one block: the log of fibserver has the causes",
        )

    def close(self) -> None:
        """Kill and reap all workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._workers.clear()


@contextmanager
def _closing_leaked_pipes(any_fd: int) -> Iterator[None]:
    """Close the descriptors that `Process.start` leaks if it cannot fork.

    CPython opens two pipes before it forks and does not close them if that fails (as of 3.11), so
    a lasting shortage would use up all descriptors. This process has one thread, and the kernel
    assigns the lowest free numbers: so the four descriptors are known in advance.

    Args:
        any_fd: Any open descriptor.
    """
    expected: list[int] = []
    try:
        while len(expected) < 4:
            expected.append(os.dup(any_fd))
    finally:
        for fd in expected:
            os.close(fd)
    try:
        yield
    except (OSError, MemoryError):
        for fd in expected:
            with suppress(OSError):
                os.close(fd)
        raise
