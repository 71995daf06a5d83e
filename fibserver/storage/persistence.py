"""Persistence: schedules saving far blocks to the snapshot, and trimming it.

A worker that computes a block reads its file first, if reading is cheaper than computing
(`Block.is_worth_reading`). So nothing is loaded in advance, and this module only lists the blocks
to save. Workers save them, and remove files, when no other task waits: the
event loop never waits for a disk, and a full, slow or read-only disk affects only the snapshot.

The arrays are not saved: computing them takes no longer than reading them.
"""

import errno
import logging
import os
from collections.abc import Callable

from fibserver.core.fair_queue import FairQueue
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.far_block import FarBlock, key_of
from fibserver.memory.far_blocks import FarBlocks
from fibserver.storage.snapshot import Snapshot, SnapshotSize

__all__ = ["Persistence"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""Delay before saving and trimming are retried after a disk error."""

MAX_UNSAVED_BLOCKS = 2048
"""Maximum number of blocks to save; more are not in memory at a time."""


class Persistence:
    """A background source of tasks that save blocks and trim the snapshot.

    Attributes:
        size: Number and size of the blocks in the snapshot, as far as known.
        last_save: When a block was last saved, by the clock; None if never.
        is_failing: Whether the last task failed.
    """

    cost_seconds = 0.0
    waiting_since = None

    def __init__(
        self,
        snapshot: Snapshot,
        far_blocks: FarBlocks,
        queue: FairQueue,
        clock: Callable[[], float],
    ) -> None:
        """Schedule a first look at the directory, for when the workers are idle.

        Args:
            snapshot: The files.
            far_blocks: The blocks in memory.
            queue: Receives this source of tasks.
            clock: Returns the current time in seconds.
        """
        self.size = SnapshotSize(0, 0)
        self.last_save: float | None = None
        self.is_failing = False
        self._snapshot = snapshot
        self._far_blocks = far_blocks
        self._queue = queue
        self._clock = clock
        self._retry_at = 0.0
        self._checksums: dict[Block, int] = {}  # of the blocks to save
        self._saving: FarBlock | None = None
        self._must_trim = True
        self._is_trimming = False
        queue.add_background(self)

    @property
    def unsaved_blocks(self) -> int:
        """Number of blocks to save, or being saved."""
        return len(self._checksums) + self.is_saving

    @property
    def is_saving(self) -> bool:
        """Whether a worker is saving a block."""
        return self._saving is not None

    def next_task(self) -> Task | None:
        """Return the next task, or None if there is none at present.

        There is one at a time: a disk that hangs then blocks one worker.
        """
        if self._clock() < self._retry_at or self.is_saving or self._is_trimming:
            return None
        if self._must_trim:
            self._is_trimming = True
            return Task(Action.TRIM)
        while self._checksums:
            block, checksum = self._checksums.popitem()
            found = self._far_blocks.find(key_of(block))
            if found is not None and found.block == block and found.is_filled:
                found.pins += 1
                self._saving = found
                return Task(Action.SAVE, block, checksum)
        return None

    def on_computed(self, block: Block, checksum: int) -> None:
        """Schedule saving a block that was computed, given its checksum."""
        if block.size > self._snapshot.limit_bytes // 2:
            return  # it would displace all others
        self._checksums[block] = checksum
        if len(self._checksums) > MAX_UNSAVED_BLOCKS:
            del self._checksums[next(iter(self._checksums))]
        self._queue.add_background(self)

    def on_saved(self, task: Task, grown: SnapshotSize, error_number: int) -> None:
        """Handle the end of saving a block.

        Args:
            task: The task.
            grown: By how much the snapshot has grown.
            error_number: 0 if it succeeded.
        """
        assert self._saving is not None
        self._far_blocks.unpin(self._saving)
        self._saving = None
        if error_number == errno.EBADMSG:
            self.tick()  # the block has changed in memory, which the worker has logged
            return
        if error_number:
            # Tried last the next time: the cause may be its file alone.
            self._checksums = {task.block: task.checksum, **self._checksums}
        else:
            self.last_save = self._clock()
            blocks, size_bytes = self.size
            self.size = SnapshotSize(blocks + grown.blocks, size_bytes + grown.size_bytes)
            self._must_trim = self.size.size_bytes > self._snapshot.limit_bytes
        self._finish(error_number)

    def on_trimmed(self, size: SnapshotSize, error_number: int) -> None:
        """Handle the end of trimming; `error_number` is 0 if it succeeded."""
        self._is_trimming = False
        if not error_number:
            self.size = size
            self._must_trim = False
        self._finish(error_number)

    def _finish(self, error_number: int) -> None:
        self.is_failing = error_number != 0
        if error_number:
            log.warning(
                "state_dir %s: %s (%s); trying again in %g s",
                self._snapshot.directory,
                os.strerror(error_number),
                errno.errorcode.get(error_number, error_number),
                RETRY_SECONDS,
            )
            self._retry_at = self._clock() + RETRY_SECONDS
        self.tick()

    def tick(self) -> None:
        """Offer tasks again, as after a pause; called periodically."""
        if self._checksums or self._must_trim:
            self._queue.add_background(self)
