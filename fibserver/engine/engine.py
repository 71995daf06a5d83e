"""The engine: all that lies between a slice and its bytes.

    slice ──> answer ──> fair queue ──> worker pool ──> arena
                 ^                                        │
                 └── arrays, short-lived blocks, snapshot ┘

It knows no client and no socket but the workers' own. The acceptor gives it an event loop and
calls it in each turn.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TypeAlias

from fibcommon.costs import DEAR_SECONDS
from fibcommon.formats import FORMATS
from fibcommon.service.errors import SettingsError, reason
from fibcommon.service.machine import memory_limit_bytes
from fibserver.core.event_loop import EventLoop
from fibserver.core.fair_queue import FairQueue
from fibserver.core.statistics import Statistics
from fibserver.engine.slice_stream import SliceStream, SliceStreamOwner
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import BLOCK_BYTES, Action, Block, Task
from fibserver.memory.layout import ArenaLayout
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.memory.transient_blocks import TransientBlocks, slots_for
from fibserver.protocol.reply_encoding import Slice
from fibserver.settings import Settings
from fibserver.storage.persistence import Persistence
from fibserver.storage.snapshot import Snapshot
from fibserver.workers.pool import WorkerPool
from fibserver.workers.worker import Outcome

__all__ = ["Engine", "Work"]

log = logging.getLogger(__name__)

Work: TypeAlias = Callable[[socket.socket, Arena, Snapshot | None], None]
"""The main function of a worker."""

LEAST_MEMORY_BYTES = 1024 * 1024

PROCESS_BYTES = 32 * 1024 * 1024
"""Memory of the acceptor or of a worker that no other process shares, with some to spare."""

_MOUNT = "mount a tmpfs of 64 MiB or more there that this user can write to"
ARENA_REMEDIES = {
    errno.ENOMEM: "lower memory_limit, of which it maps several times as much, or raise ulimit -v",
    errno.ENOSPC: "enlarge it, as with docker's --shm-size=64m",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EPERM), _MOUNT),
}
"""Advice for the errors with which the arena cannot be created."""

GRACE_SECONDS = 3.0
"""So long after its time a stuck worker may have been replaced, and the next have answered."""

MAX_WAITING_ANSWERS = 1000
"""How many answers may wait for a dear block: the queue stays short enough to be ordered in
microseconds, whatever the prediction says."""

_PROBE = Block(FORMATS["text"], 0, 1, 0, 0)

_REASONS = {
    errno.ENOSPC: "no room left in /dev/shm",
    errno.ENOMEM: "no memory left",
}


class Engine:
    """Shared memory, the workers that fill it, and what is asked of them.

    Attributes:
        memory_limit: how many bytes of elements are kept, as far as /dev/shm has room.
        arrays: the published elements.
        scratch: the short-lived ones.
        pool: the workers.
        persistence: the snapshot, if there is to be one.
        queue: what waits for the workers.
        answers_rejected: how many were rejected because they would have waited too long.
    """

    def __init__(
        self, settings: Settings, loop: EventLoop, statistics: Statistics, work: Work
    ) -> None:
        """Make the arena; there are no workers before `start`.

        Args:
            settings: how large everything is.
            loop: tells the time, and of the workers' outcomes.
            statistics: where blocks are counted.
            work: the main function of a worker.

        Raises:
            SettingsError: there is no shared memory to be had.
            OSError: something else is short, such as descriptors.
        """
        self._statistics = statistics
        self._max_wait_seconds = settings.request_timeout
        self.answers_rejected = 0
        slots = slots_for(settings.workers)
        try:
            self.memory_limit = _affordable_memory(settings, slots)
            layout = ArenaLayout(self.memory_limit, settings.max_index, slots)
            self._arena = Arena(layout)
        except OSError as error:
            remedy = ARENA_REMEDIES.get(error.errno or 0)
            if remedy is None:
                raise
            message = f"no shared memory in /dev/shm: {reason(error)}; {remedy}"
            raise SettingsError(message) from error

        def clock() -> float:
            return loop.now

        self.queue = FairQueue(clock)
        self.arrays = SharedArrays(self._arena, self.memory_limit, clock, self._on_dropped)
        self.scratch = TransientBlocks(self._arena, clock)
        snapshot = Snapshot(settings.state_dir) if settings.state_dir else None
        self.persistence = (
            Persistence(snapshot, self.arrays, self.queue, clock) if snapshot else None
        )
        self.pool = WorkerPool(
            settings.workers,
            self.queue,
            self,
            loop.register,
            loop.unregister,
            lambda channel: work(channel, self._arena, snapshot),
        )

    @property
    def shared_bytes(self) -> int:
        """How much memory the arena takes, slots and indexes included."""
        return self._arena.resident_bytes

    def is_healthy(self, request_timeout: float) -> bool:
        """Return whether a worker has come back lately: with a block, or with a sign of life.

        Args:
            request_timeout: in seconds; a worker has half of it for one block.
        """
        return time.monotonic() - self.pool.last_outcome < request_timeout / 2 + GRACE_SECONDS

    @property
    def is_short(self) -> bool:
        """Whether no worker can be started at present: a restart would not help."""
        return not self.pool.workers

    @property
    def has_to_save(self) -> bool:
        """Whether the snapshot lacks something, and can be written."""
        persistence = self.persistence
        return bool(persistence and persistence.unsaved_blocks and not persistence.is_failing)

    def answer(self, slice: Slice, owner: SliceStreamOwner) -> SliceStream:
        """Return the answer that a slice asks for; it waits to be started."""
        return SliceStream(slice, self.arrays, self.scratch, self.queue, self._refusal, owner)

    @property
    def queued_seconds(self) -> float:
        """How long the dear blocks that wait or are being computed will take.

        As far as is predicted: one block of each answer, at the pace measured of late.
        """
        return self._wait_seconds(self.queue.dear_seconds)

    def _wait_seconds(self, predicted_seconds: float) -> float:
        in_all = predicted_seconds + self.pool.dear_seconds_in_hand
        return in_all * self.pool.pace / self.pool.dear_workers

    def _refusal(self, cost_seconds: float) -> str | None:
        """Return why an answer must not wait, or None if it may.

        This alone decides how long the queue may become. Cheap blocks are never refused: they
        wait for cheap ones only.

        Args:
            cost_seconds: predicted cost of its first block.
        """
        if cost_seconds <= DEAR_SECONDS:
            return None
        is_long = self.queue.dear_sources >= MAX_WAITING_ANSWERS
        if not is_long and self.queued_seconds <= self._max_wait_seconds:
            return None  # nearly always: without a look at each that waits
        wait = self._wait_seconds(self.queue.dear_seconds_before(cost_seconds))
        if not is_long and wait <= self._max_wait_seconds:
            return None
        self.answers_rejected += 1
        return f"overloaded: {self.queued_seconds:.0f} s of work are waiting; try again later"

    def tick(self, request_timeout: float) -> None:
        """From time to time: see that workers live, and try again what failed.

        Args:
            request_timeout: how long a client waits, in seconds; a worker has half of it for
                one block, so that another can still do it in time.
        """
        self._max_wait_seconds = request_timeout
        self.pool.ensure_workers()
        self.pool.check(request_timeout / 2, _PROBE)
        self.scratch.give_back_idle_memory()
        if self.persistence:
            self.persistence.tick()

    def _on_dropped(self, block: Block) -> None:
        self._statistics.blocks_dropped += 1
        if self.persistence:
            self.persistence.on_dropped(block)

    # What workers report.

    def task_done(self, task: Task, outcome: Outcome, error_number: int) -> None:
        """Pass an outcome on to whom it concerns."""
        block = task.block
        if task.action in (Action.SAVE, Action.DISCARD):
            self._file_done(task, error_number)
        elif outcome is Outcome.FAILED:
            reason = _REASONS.get(error_number, os.strerror(error_number))
            self._block_failed(block, reason, "NOSPACE")
        elif block.is_resident:
            self._statistics.blocks_filled += 1
            if self.persistence:
                is_loaded = task.action is Action.LOAD and outcome is Outcome.DONE
                self.persistence.on_filled(block, is_loaded)
            self.arrays.block_finished(block)
        else:
            self._statistics.blocks_filled += 1
            self.scratch.block_finished(block)

    def task_given_up(self, task: Task, reason: str) -> None:
        """Pass on to whom it concerns that a task cannot be done."""
        if task.action in (Action.SAVE, Action.DISCARD):
            self._file_done(task, errno.EIO)
        else:
            self._block_failed(task.block, reason, "ERR")

    def _file_done(self, task: Task, error_number: int) -> None:
        assert self.persistence, "nobody else has files to do"
        if task.action is Action.SAVE:
            self.persistence.on_saved(task.block, error_number)
        else:
            self.persistence.on_discarded(error_number)

    def _block_failed(self, block: Block, message: str, code: str) -> None:
        self._statistics.blocks_failed += 1
        log.error("%s elements %s to %s: %s", block.format.name, block.start, block.stop, message)
        if block.is_resident:
            if self.persistence:
                self.persistence.on_failed(block)
            self.arrays.block_failed(block, message, code)
        else:
            self.scratch.block_failed(block, message, code)

    def close(self) -> None:
        """End the workers, and give the memory back; no answer may be left."""
        self.pool.close()
        self.arrays.close()
        self._arena.close()


def _affordable_memory(settings: Settings, slots: int) -> int:
    """Return how much of the memory limit there is room for, that for the slots aside."""
    room = os.statvfs("/dev/shm")
    bounds = {"the room in /dev/shm": room.f_bavail * room.f_frsize}
    group = memory_limit_bytes()
    if group is not None:
        processes = PROCESS_BYTES * (settings.workers + 1)
        rest = max(0, group - settings.max_output_bytes - processes)
        bounds[f"the control group's memory limit, {group >> 20} MiB in all"] = rest
    name = min(bounds, key=bounds.__getitem__)
    for_arrays = (bounds[name] - slots * BLOCK_BYTES) * 15 // 16  # the rest is for their indexes
    affordable = max(LEAST_MEMORY_BYTES, min(settings.memory_limit, for_arrays))
    if affordable < settings.memory_limit:
        log.warning(
            "memory_limit lowered to %s MiB by %s: it leaves %s MiB",
            *(affordable >> 20, name, bounds[name] >> 20),
        )
    return affordable
