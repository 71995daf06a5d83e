"""Engine: produces the bytes of slices from shared memory, workers and the snapshot.

    slice ──> stream ──> fair queue ──> worker pool ──> arena
                 ^                                        │
                 └── arrays, far blocks, snapshot ┘

The engine handles no clients; its only sockets are those of the workers. The acceptor provides an
event loop and calls `tick` about once per second.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TypeAlias

from fibcommon.costs import EXPENSIVE_SECONDS
from fibcommon.service.errors import SettingsError, reason
from fibcommon.service.resource_limits import memory_limit_bytes
from fibserver.core.event_loop import EventLoop
from fibserver.core.fair_queue import FairQueue
from fibserver.core.statistics import Statistics
from fibserver.engine.calculated_reply import CalculatedReply, Calculations
from fibserver.engine.slice_stream import SliceStream
from fibserver.engine.stream import Stream, StreamOwner
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import BLOCK_BYTES, Action, Block, Task
from fibserver.memory.far_blocks import FarBlocks, slots_for
from fibserver.memory.layout import ArenaLayout
from fibserver.memory.memory_limit import MemoryLimit
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.protocol.reply_encoding import Calculation, Slice
from fibserver.settings import ServerSettings
from fibserver.storage.persistence import Persistence
from fibserver.storage.snapshot import Snapshot, SnapshotSize
from fibserver.workers.pool import WorkerPool
from fibserver.workers.worker import Outcome, Report

__all__ = ["Engine", "Work"]

log = logging.getLogger(__name__)

Work: TypeAlias = Callable[[socket.socket, Arena, Snapshot | None], None]
"""Main function of a worker."""

MIN_MEMORY_BYTES = 1024 * 1024

PROCESS_BYTES = 32 * 1024 * 1024
"""Estimated private memory of the acceptor or of one worker, with a margin."""

_MOUNT = "mount a tmpfs of 64 MiB or more there that this user can write to"
ARENA_REMEDIES = {
    errno.ENOMEM: "lower memory_limit (the server maps several times as much) or raise ulimit -v",
    errno.ENOSPC: "enlarge it, as with docker's --shm-size=64m",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EPERM), _MOUNT),
}
"""Advice by errno for an arena that cannot be created."""

GRACE_SECONDS = 3.0
"""Time after a stuck worker's limit to replace it and get an outcome from the new one."""

MAX_WAITING_STREAMS = 1000
"""Maximum number of replies that wait for an expensive block. It bounds the time for ordering the
queue to microseconds, even if the predicted costs are low."""

_REASONS = {
    errno.ENOSPC: "no room left in /dev/shm: enlarge it or lower memory_limit",
    errno.ENOMEM: "no memory left",
}


class Engine:
    """The arena, the workers that fill it, and the queue of their tasks.

    Attributes:
        memory: Limit on the memory of arrays and kept blocks, as far as the machine allows.
        arrays: The arrays of published elements.
        far_blocks: The blocks outside the arrays.
        pool: The workers.
        persistence: Persistence of the far blocks; None without a `state_dir`.
        queue: Sources of tasks that wait for a worker.
        overload_rejections: Number of replies rejected because they would have waited too long.
    """

    def __init__(
        self, settings: ServerSettings, loop: EventLoop, statistics: Statistics, work: Work
    ) -> None:
        """Create the arena; `pool.ensure_workers` and `tick` start the workers.

        Args:
            settings: Sizes, limits and directories.
            loop: Provides the time and reports readable sockets of workers.
            statistics: Counts blocks.
            work: Main function of a worker.

        Raises:
            SettingsError: The arena cannot be created in /dev/shm; the message contains a remedy.
            OSError: Another resource is short, such as descriptors.
        """
        self._statistics = statistics
        self._max_wait_seconds = settings.request_timeout
        self.overload_rejections = 0
        slots = slots_for(settings.workers)
        try:
            self.memory = MemoryLimit(_affordable_memory(settings, slots))
            layout = ArenaLayout(self.memory.limit_bytes, settings.max_index, slots)
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
        self._calculations = Calculations()
        self.arrays = SharedArrays(self._arena, self.memory, clock)
        self.far_blocks = FarBlocks(self._arena, slots, self.memory, clock)
        snapshot = self.persistence = None
        if settings.state_dir:
            snapshot = Snapshot(settings.state_dir, settings.state_limit)
            self.persistence = Persistence(snapshot, self.far_blocks, self.queue, clock)
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
        """Allocated memory of the arena in bytes, slots and indexes included."""
        return self._arena.resident_bytes

    def is_healthy(self, request_timeout: float) -> bool:
        """Return whether a worker has reported an outcome recently, of a block or a probe.

        Args:
            request_timeout: In seconds; a worker has half of it for a task.
        """
        return time.monotonic() - self.pool.last_outcome < request_timeout / 2 + GRACE_SECONDS

    @property
    def lacks_workers(self) -> bool:
        """Whether no worker runs because none can be started: a restart would not help."""
        return not self.pool.workers

    @property
    def has_unsaved_blocks(self) -> bool:
        """Whether blocks remain to be saved and the last attempt did not fail."""
        persistence = self.persistence
        return bool(persistence and persistence.unsaved_blocks and not persistence.is_failing)

    def open_stream(self, reply: Slice | Calculation, owner: StreamOwner) -> Stream:
        """Create the stream of a reply; it requests nothing until it is started."""
        refusal = self._rejection_reason
        if isinstance(reply, Calculation):
            return CalculatedReply(reply, self._calculations, self.queue, refusal, owner)
        return SliceStream(reply, self.arrays, self.far_blocks, self.queue, refusal, owner)

    @property
    def queued_seconds(self) -> float:
        """Predicted time to finish the expensive blocks that are queued or being computed.

        Includes one block of each waiting reply, scaled by the measured speed of the workers.
        """
        return self._wait_seconds(self.queue.expensive_seconds)

    def _wait_seconds(self, predicted_seconds: float) -> float:
        total = predicted_seconds + self.pool.assigned_expensive_seconds
        return total * self.pool.cost_ratio / self.pool.expensive_workers

    def _rejection_reason(self, cost_seconds: float) -> str | None:
        """Return the error message for a reply that would wait too long, or None.

        Only this bounds the length of the queue. Cheap blocks are never rejected, since
        with several workers they wait only for other cheap ones.

        Args:
            cost_seconds: Predicted cost of the reply's first block.
        """
        if cost_seconds <= EXPENSIVE_SECONDS:
            return None
        is_long = self.queue.expensive_sources >= MAX_WAITING_STREAMS
        if not is_long and self.queued_seconds <= self._max_wait_seconds:
            return None  # the common case: no scan of the queue
        wait = self._wait_seconds(self.queue.expensive_seconds_before(cost_seconds))
        if not is_long and wait <= self._max_wait_seconds:
            return None
        self.overload_rejections += 1
        return f"overloaded: {self.queued_seconds:.0f} s of work are waiting; try again later"

    def tick(self, request_timeout: float) -> None:
        """Start and check workers, free idle memory and resume saving; called periodically.

        Args:
            request_timeout: How long a client waits, in seconds. A worker has half of it for a
                task, so that another can still do it in time.
        """
        self._max_wait_seconds = request_timeout
        self.pool.ensure_workers()
        self.pool.check(request_timeout / 2)
        self.far_blocks.free_idle_memory()
        if self.persistence:
            self.persistence.tick()

    # Reports of workers.

    def task_done(self, task: Task, report: Report) -> None:
        """Update replies, blocks, snapshot and statistics after a report on a task."""
        if task.action is Action.CALCULATE:
            self._calculations.finish(task, report.value)
        elif task.action is not Action.FILL:
            self._file_task_done(task, report)
        elif report.outcome is Outcome.FAILED:
            error_number = report.error_number
            reason = _REASONS.get(error_number, os.strerror(error_number))
            self._block_failed(task.block, reason, "NOSPACE")
        else:
            self._block_filled(task.block, report)

    def task_given_up(self, task: Task, reason: str) -> None:
        """Treat a task that was given up as failed."""
        if task.action is Action.FILL:
            self._block_failed(task.block, reason, "ERR")
        elif task.action is Action.CALCULATE:
            log.error("cannot calculate %s: %s", task.expression.decode(), reason)
            self._calculations.fail(task, reason, "ERR")
        else:
            self._file_task_done(task, Report(Outcome.FAILED, errno.EIO))

    def _file_task_done(self, task: Task, report: Report) -> None:
        assert self.persistence, "only persistence creates tasks for files"
        size = SnapshotSize(*report.results)
        if task.action is Action.SAVE:
            self.persistence.on_saved(task, size, report.error_number)
        else:
            self.persistence.on_trimmed(size, report.error_number)

    def _block_filled(self, block: Block, report: Report) -> None:
        if report.outcome is Outcome.LOADED:
            self._statistics.blocks_loaded += 1
        else:
            self._statistics.blocks_computed += 1
        checksum, _ = report.results
        if checksum and self.persistence:
            self.persistence.on_computed(block, checksum)
        if block.is_resident:
            self.arrays[block.format].block_finished(block)
        else:
            self.far_blocks.block_finished(block)

    def _block_failed(self, block: Block, message: str, code: str) -> None:
        self._statistics.blocks_failed += 1
        log.error(
            "cannot compute %s elements %s to %s: %s",
            block.format.name,
            block.start,
            block.stop - 1,
            message,
        )
        if block.is_resident:
            self.arrays[block.format].block_failed(block, message, code)
        else:
            self.far_blocks.block_failed(block, message, code)

    def close(self) -> None:
        """Stop the workers and free the memory; no stream may be open."""
        self.pool.close()
        self.arrays.close()
        self._arena.close()


def _affordable_memory(settings: ServerSettings, slots: int) -> int:
    """Return the memory limit, lowered to what /dev/shm and the control group have room for.

    The slots, and for the control group the processes and output buffers, are subtracted first.
    """
    room = os.statvfs("/dev/shm")
    bounds = {"the room in /dev/shm": room.f_bavail * room.f_frsize}
    group = memory_limit_bytes()
    if group is not None:
        processes = PROCESS_BYTES * (settings.workers + 1)
        rest = max(0, group - settings.max_output_bytes - processes)
        bounds[f"the control group's memory limit of {group >> 20} MiB"] = rest
    name = min(bounds, key=bounds.__getitem__)
    for_arrays = (bounds[name] - slots * BLOCK_BYTES) * 15 // 16  # the rest is for their indexes
    affordable = max(MIN_MEMORY_BYTES, min(settings.memory_limit, for_arrays))
    if affordable < settings.memory_limit:
        log.warning(
            "memory_limit lowered to %s MiB by %s, which leaves %s MiB; "
            "enlarge it (in a container: --shm-size or --memory) or lower memory_limit",
            *(affordable >> 20, name, bounds[name] >> 20),
        )
    return affordable
