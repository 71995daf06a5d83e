"""The worker pool: keeps W worker processes alive and at work.

                    ┌── socketpair ── worker
    acceptor ───────┼── socketpair ── worker      no lock, queue or semaphore is shared:
                    └── socketpair ── worker      one would die with its holder

What is moves toward what should be: `top_up` starts missing workers, `hand_out` gives each
a block to fill and one to go on with, so that none waits for the acceptor to wake up; and a
readable socketpair brings an outcome or, at its end, the news of a death. A dead worker is
reaped and its blocks handed to others; a block over which three workers have died is given
up, lest it kill them all.
"""

import logging
import multiprocessing
import socket
from collections import Counter, deque
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Protocol

from fibserver.arena import Arena
from fibserver.fair_queue import FairQueue
from fibserver.growth import Block
from fibserver.worker import OUTCOME_BYTES, Outcome, encode_task, work

__all__ = ["MAX_DEATHS", "BlockOwner", "WorkerPool"]

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""How many workers may die over a block before it is given up."""

BLOCKS_IN_HAND = 2
"""How many blocks a worker is given at a time: the one it fills, and the next."""

_FORK = multiprocessing.get_context("fork")


class BlockOwner(Protocol):
    """Whoever wants to know what became of a block."""

    def block_finished(self, block: Block) -> None:
        """Take note that a block is filled."""

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Take note that a block could not be filled, and why, as for an error reply."""


class _Worker:
    """One worker process and what it is doing."""

    def __init__(self, process: BaseProcess, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel
        self.blocks: deque[Block] = deque()  # the one it fills, and the next
        self.has_worked = False


class WorkerPool:
    """W worker processes.

    Attributes:
        deaths: how many workers have died so far.
    """

    def __init__(
        self,
        size: int,
        arena: Arena,
        queue: FairQueue,
        owner: BlockOwner,
        watch: Callable[[int, Callable[[int], None]], None],
        unwatch: Callable[[int], None],
        work: Callable[[socket.socket, Arena], None] = work,
    ) -> None:
        """Prepare a pool without workers; `top_up` starts them.

        Args:
            size: how many workers there should be.
            arena: where they write.
            queue: where their blocks come from.
            owner: is told what became of each block.
            watch: has a function called when a descriptor becomes readable.
            unwatch: ends that.
            work: the main function of a worker.
        """
        self.deaths = 0
        self._size = size
        self._arena = arena
        self._queue = queue
        self._owner = owner
        self._watch = watch
        self._unwatch = unwatch
        self._work = work
        self._workers: list[_Worker] = []
        self._deaths_by_block: Counter[Block] = Counter()

    @property
    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    @property
    def busy(self) -> int:
        """How many workers are filling a block."""
        return sum(bool(worker.blocks) for worker in self._workers)

    def top_up(self) -> None:
        """Start workers until there are as many as there should be."""
        while len(self._workers) < self._size:
            try:
                self._spawn()
            except OSError as error:
                log.error("cannot start a worker: %s; trying again in a second", error)
                return

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = _FORK.Process(
                target=self._work, args=(theirs, self._arena), name="fibserver-worker", daemon=True
            )
            try:
                process.start()
            except OSError:
                ours.close()
                raise
        worker = _Worker(process, ours)
        self._watch(ours.fileno(), lambda _events: self._on_readable(worker))
        self._workers.append(worker)

    def hand_out(self) -> None:
        """Give out the blocks that wait, first to workers that have none."""
        while (worker := self._readiest_worker()) and (block := self._queue.take()):
            try:
                worker.channel.send(encode_task(block))
            except (BrokenPipeError, ConnectionResetError):
                self._bury(worker)
                self._queue.put_back(block)  # after those that the worker had before
            else:
                worker.blocks.append(block)

    def _readiest_worker(self) -> _Worker | None:
        worker = min(self._workers, key=lambda each: len(each.blocks), default=None)
        return worker if worker and len(worker.blocks) < BLOCKS_IN_HAND else None

    def _on_readable(self, worker: _Worker) -> None:
        try:
            message = worker.channel.recv(OUTCOME_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # a stale event of a descriptor that was another's
        except ConnectionResetError:
            message = b""
        if not message:
            self._bury(worker)
            return
        block = worker.blocks.popleft()  # outcomes come in the order of the tasks
        worker.has_worked = True
        self._deaths_by_block.pop(block, None)
        if message[0] == Outcome.DONE:
            self._owner.block_finished(block)
        else:
            self._owner.block_failed(block, "no room left in /dev/shm", "NOSPACE")

    def _bury(self, worker: _Worker) -> None:
        """Reap a dead worker, see to its blocks, and replace it."""
        self._unwatch(worker.channel.fileno())
        self._workers.remove(worker)
        worker.channel.close()
        worker.process.kill()  # should it have lost its channel and live on
        worker.process.join()
        log.warning(
            "worker %s ended with exit code %s", worker.process.pid, worker.process.exitcode
        )
        worker.process.close()
        self.deaths += 1
        if worker.blocks:
            self._after_death_over(worker.blocks.popleft())
        for block in worker.blocks:
            self._queue.put_back(block)
        if worker.has_worked or self._deaths_by_block:
            self.top_up()  # else workers may be unable to start: the next tick tries again

    def _after_death_over(self, block: Block) -> None:
        self._deaths_by_block[block] += 1
        if self._deaths_by_block[block] < MAX_DEATHS:
            self._queue.put_back(block)
            return
        del self._deaths_by_block[block]
        log.error("%s died over elements %s to %s", MAX_DEATHS, block.start, block.stop - 1)
        self._owner.block_failed(
            block, f"{MAX_DEATHS} workers died over one part of the answer", "ERR"
        )

    def close(self) -> None:
        """End all workers, at once, and reap them."""
        for worker in self._workers:
            worker.channel.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
        self._workers.clear()
