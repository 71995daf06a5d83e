"""The worker pool: keeps W worker processes alive and at work.

                    ┌── socketpair ── worker
    acceptor ───────┼── socketpair ── worker      no lock, queue or semaphore is shared:
                    └── socketpair ── worker      one would die with its holder

What is moves toward what should be: `ensure_workers` starts missing workers, `dispatch` gives each
a task and one to go on with, so that none waits for the acceptor to wake up; and a
readable socketpair brings an outcome or, at its end, the news of a death. A dead worker is
reaped and its tasks handed to others; a task over which three workers have died is given
up, lest it kill them all.

A dear block is given only to a worker that has no other, and nothing else is given to that
worker; and while there are two workers or more, one is kept free of dear blocks. So cheap blocks
never wait for dear ones if there are two workers. Conversely, while a dear block is overdue no
worker gets a task in advance: else many cheap blocks would leave no worker without one.

A block whose clients have all left while it was computed is finished all the same. With the
default limit it takes 0.4 s, as `binary` 3.5 s, and only other dear blocks wait for it, once: what
its clients still had in the queue has left it. To kill the worker would cost more than it saves
for all blocks but the largest: a fork, the task it has in advance, and a way to tell such a death
from a crash.

Workers run at a lower priority than this process, so that the loop answers at once while all
cores compute. This process sets it, and not the worker: so a refusal is logged once.

A worker that does not come back with an outcome, because it was stopped or hangs, is killed
first: only a worker that is certainly dead can have its block filled by another, since it might
otherwise wake up and write where something else lies by then. A worker without a task is asked
for a sign of life every second, and is given no block until it has answered.
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
from fibserver.memory.blocks import Action, Block, Task
from fibserver.workers.worker import (
    FOR_THE_ACCEPTOR,
    OUTCOME_BYTES,
    Outcome,
    decode_outcome,
    encode_task,
)

__all__ = ["MAX_DEATHS", "TaskOwner", "WorkerInfo", "WorkerPool"]

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""How many workers may die over a task before it is given up."""

TASKS_IN_HAND = 2
"""How many tasks a worker is given at a time: the one it does, and the next."""

NICENESS = 5
"""How much lower the priority of workers is. Beside a busy loop a worker gets a quarter of a core
that both want; with 10 it was a tenth, and new small numbers took half a second where clients kept
the loop busy."""

WEIGHT = 0.2
"""How much the last dear block counts in the measured pace."""

_FORK = multiprocessing.get_context("fork")


class TaskOwner(Protocol):
    """Whoever wants to know what became of a task."""

    def task_done(self, task: Task, outcome: Outcome, error_number: int) -> None:
        """Take note of an outcome, with the error number of a failure."""

    def task_given_up(self, task: Task, reason: str) -> None:
        """Take note that a task cannot be done."""


class WorkerInfo(NamedTuple):
    """What there is to know about a worker.

    Attributes:
        pid: its process id.
        is_busy: whether it has a task, a sign of life aside.
        tasks_done: since its start.
        overcounted_bytes: of its memory (`fibserver.core.process_memory`), 0 before it was
            measured.
    """

    pid: int
    is_busy: bool
    tasks_done: int
    overcounted_bytes: int


class _Worker:
    """One worker process and what it is doing."""

    def __init__(self, process: BaseProcess, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel
        self.tasks: deque[Task] = deque()  # the one it does, and the next
        self.tasks_done = 0
        self.overcounted_bytes = 0
        self.working_since = 0.0
        self.was_killed = False

    def end(self) -> int | None:
        """Kill the process, whatever it does, and reap it; return its exit code."""
        self.channel.close()
        self.process.kill()
        self.process.join()
        exit_code = self.process.exitcode
        self.process.close()
        return exit_code

    @property
    def is_full(self) -> bool:
        return len(self.tasks) >= TASKS_IN_HAND or any(
            task.block.is_dear or task.action is Action.PROBE for task in self.tasks
        )


class WorkerPool:
    """W worker processes.

    Attributes:
        deaths: how many workers have died so far.
        retried: how many tasks were handed out again after a death.
        last_outcome: when a worker last came back, monotonic, in seconds.
        pace: how many seconds a dear block takes for each that was predicted, measured.
        acceptor_overcounted_bytes: of the memory of this process, 0 before it was measured.
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
            size: how many workers there should be.
            queue: where their tasks come from.
            owner: is told what became of each task.
            register: has a function called when a descriptor becomes readable.
            unregister: ends that.
            work: the main function of a worker, which gets its channel.
        """
        self.deaths = 0
        self.retried = 0
        self.last_outcome = time.monotonic()
        self.pace = 1.0
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
        """The live workers."""
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
    def tasks_in_hand(self) -> int:
        """How many tasks workers have at present."""
        return sum(len(worker.tasks) for worker in self._workers)

    @property
    def dear_seconds_in_hand(self) -> float:
        """Predicted cost of the dear blocks that workers have at present."""
        return sum(task.block.cost_seconds for task in self._dear_tasks())

    @property
    def dear_workers(self) -> int:
        """How many workers may have a dear block at a time."""
        return max(1, self._size - 1)

    def ensure_workers(self) -> None:
        """Start workers until there are as many as there should be, or none can be started.

        A shortage of processes, memory or descriptors passes: the next call tries again.
        """
        while len(self._workers) < self._size:
            try:
                self._spawn()
            except (OSError, MemoryError) as error:
                reason = error or "out of memory"
                log.warning("cannot start a worker: %s; trying again in a second", reason)
                return

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ExitStack() as undo:  # whatever fails, no unwatched worker is left
            undo.callback(ours.close)
            process = _FORK.Process(
                target=self._work, args=(theirs,), name="fibserver-worker", daemon=True
            )
            worker = _Worker(process, ours)
            unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_ACCEPTOR)
            try:
                with _no_descriptors_left(theirs.fileno()):
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
                log.warning("workers run at the priority of the acceptor: %s", error)

    def dispatch(self) -> None:
        """Give out the tasks that wait, first to workers that have none."""
        while worker := self._readiest_worker():
            accepts_dear = self._accepts_dear()
            if worker.tasks:
                if accepts_dear and self._queue.is_dear_due:
                    break
                accepts_dear = False
            task = self._queue.take(accepts_dear)
            if task is None and not worker.tasks:
                task = self._queue.take_background()
            if task is None:
                break
            self._give(worker, task)

    def _readiest_worker(self) -> _Worker | None:
        ready = [worker for worker in self._workers if not worker.is_full]
        return min(ready, key=lambda each: len(each.tasks), default=None)

    def _accepts_dear(self) -> bool:
        return len(self._dear_tasks()) < self.dear_workers

    def _dear_tasks(self) -> list[Task]:
        return [task for worker in self._workers for task in worker.tasks if task.block.is_dear]

    def _give(self, worker: _Worker, task: Task) -> None:
        if not worker.tasks:
            worker.working_since = time.monotonic()
        try:
            worker.channel.send(encode_task(task))
        except (BrokenPipeError, ConnectionResetError):
            self._reap(worker)
            if task.action is not Action.PROBE:
                self._queue.put_back(task)  # after those that the worker had before
        else:
            worker.tasks.append(task)

    def check(self, limit_seconds: float, probe: Block) -> None:
        """Kill workers that have been at one task for too long, and ask idle ones if they live.

        Args:
            limit_seconds: how long is too long.
            probe: any block; nothing is done with it.
        """
        now = time.monotonic()
        for worker in list(self._workers):
            if not worker.tasks:
                self._give(worker, Task(Action.PROBE, probe))
            elif now - worker.working_since > limit_seconds and not worker.was_killed:
                log.warning(
                    "worker %s has not come back for %g s: killed",
                    worker.process.pid,
                    limit_seconds,
                )
                worker.was_killed = True
                worker.process.kill()  # its end will be noticed as any other

    def _on_readable(self, worker: _Worker) -> None:
        try:
            message = worker.channel.recv(OUTCOME_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # a stale event of a descriptor that was another's
        except ConnectionResetError:
            message = b""
        if not message:
            self._reap(worker)
            return
        task = worker.tasks.popleft()  # outcomes come in the order of the tasks
        worker.tasks_done += 1
        self.last_outcome = time.monotonic()
        outcome, error_number, overcounted, acceptor_overcounted = decode_outcome(message)
        if task.action is Action.PROBE:
            worker.overcounted_bytes = overcounted
            self.acceptor_overcounted_bytes = acceptor_overcounted
        if task.block.is_dear and outcome is not Outcome.FAILED:
            ratio = (self.last_outcome - worker.working_since) / task.block.cost_seconds
            self.pace += WEIGHT * (ratio - self.pace)
        worker.working_since = self.last_outcome
        self._deaths_by_task.pop(task, None)
        if task.action is not Action.PROBE:
            self._owner.task_done(task, outcome, error_number)

    def _reap(self, worker: _Worker) -> None:
        """Reap a dead worker, see to its tasks, and replace it."""
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
            self.ensure_workers()  # else workers may be unable to start: the next tick tries again

    def _retry_or_give_up(self, task: Task) -> None:
        self._deaths_by_task[task] += 1
        if self._deaths_by_task[task] < MAX_DEATHS:
            self.retried += 1
            self._queue.put_back(task)
            return
        del self._deaths_by_task[task]
        block = task.block
        log.error(
            "%s workers died over %s elements %s to %s, to %s",
            MAX_DEATHS,
            block.format.name,
            block.start,
            block.stop - 1,
            task.action.name.lower(),
        )
        self._owner.task_given_up(task, f"{MAX_DEATHS} workers died over one part of the answer")

    def close(self) -> None:
        """End all workers, at once, and reap them."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._workers.clear()


@contextmanager
def _no_descriptors_left(any_fd: int) -> Iterator[None]:
    """Close what `Process.start` leaves open when it cannot fork.

    CPython opens two pipes before it forks, and forgets them if that fails (seen in 3.11). A
    shortage that lasts would use up all descriptors. This process has one thread, and the kernel
    gives out the lowest numbers: so it is known which descriptors those are.

    Args:
        any_fd: an open descriptor.
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
