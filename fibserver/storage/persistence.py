"""Persistence of the arrays: schedules the loading, saving and removal of snapshot files.

After the initial scan, workers do all file I/O: they load blocks like other tasks, and save and
discard blocks when no other task waits. So the event loop never waits for a disk, and a full,
slow or read-only disk affects only the snapshot. The snapshot follows the arrays: blocks that an
array evicts are removed from it.
"""

import errno
import logging
import os
from collections.abc import Callable

from fibcommon.formats import Format
from fibserver.core.fair_queue import FairQueue
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.storage.snapshot import Snapshot

__all__ = ["Persistence"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""Delay before saving and discarding are retried after a disk error."""


class Persistence:
    """Tracks which blocks the snapshot holds, and schedules saving and removing the others.

    It is a background source of save and discard tasks.

    Attributes:
        last_save: When a block was last saved, by the clock; None if never.
        is_failing: Whether the last attempt to save failed.
    """

    cost_seconds = 0.0
    waiting_since = None

    def __init__(
        self,
        snapshot: Snapshot,
        arrays: SharedArrays,
        queue: FairQueue,
        clock: Callable[[], float],
    ) -> None:
        """Scan the snapshot and queue its blocks for loading.

        Args:
            snapshot: The files.
            arrays: The arrays that the snapshot follows.
            queue: Receives the sources of tasks.
            clock: Returns the current time in seconds.
        """
        self.last_save: float | None = None
        self.is_failing = False
        self._snapshot = snapshot
        self._arrays = arrays
        self._queue = queue
        self._clock = clock
        self._retry_at = 0.0
        self._to_save: dict[Block, None] = {}
        self._to_discard: dict[Block, None] = {}
        self._saving: set[Block] = set()
        self._discarding = 0  # number of discard tasks in flight
        self._loader = _Loader(self, arrays, self._scan())
        queue.add(self._loader)

    def _scan(self) -> dict[Format, dict[int, int]]:
        try:
            found, useless = self._snapshot.scan()
        except OSError as error:
            log.warning(
                "state_dir %s: %s; starting without a snapshot", self._snapshot.directory, error
            )
            return {}
        for reason, count in useless.items():
            log.warning(
                "state_dir %s: ignored %s block files: %s; recomputing them when needed",
                self._snapshot.directory,
                count,
                reason,
            )
        for format, blocks in found.items():
            self._arrays.saved.update((format, start) for start in blocks)
        log.info(
            "state_dir %s: %s blocks to load", self._snapshot.directory, len(self._arrays.saved)
        )
        return found

    @property
    def is_loading(self) -> bool:
        """Whether blocks of the snapshot remain to be loaded."""
        return self._loader.is_loading

    @property
    def unsaved_blocks(self) -> int:
        """Number of resident blocks that are not in the snapshot."""
        return len(self._to_save) + len(self._saving)

    @property
    def is_saving(self) -> bool:
        """Whether a worker is saving a block."""
        return bool(self._saving)

    @property
    def saved_blocks(self) -> int:
        """Number of blocks in the snapshot."""
        return len(self._arrays.saved)

    def next_task(self) -> Task | None:
        """Return the next discard or save task, or None if there is none at present."""
        if self._clock() < self._retry_at:
            return None
        if self._to_discard:
            self._discarding += 1
            return Task(Action.DISCARD, _pop(self._to_discard))
        # Do not save while a file is being removed: the removal could delete a newer save of the
        # same block. Save one block at a time: a disk that hangs then blocks one worker.
        if self._to_save and not self._discarding and not self._saving:
            block = _pop(self._to_save)
            self._saving.add(block)
            self._arrays[block.format].pinned.add(block.start)
            return Task(Action.SAVE, block)
        return None

    def on_filled(self, block: Block, is_saved: bool) -> None:
        """Schedule saving a resident block that was filled, unless it was loaded.

        Args:
            block: The block.
            is_saved: Whether it was loaded, so that the snapshot holds it.
        """
        self._loader.pending.discard(block)
        if is_saved:
            return
        self._arrays.saved.discard((block.format, block.start))
        self._to_discard.pop(block, None)
        self._to_save[block] = None
        self._queue.add_background(self)

    def on_failed(self, block: Block) -> None:
        """Stop loading a format after one of its resident blocks failed: others would fail too."""
        self._loader.pending.discard(block)
        self._loader.give_up(block.format)

    def on_saved(self, block: Block, error_number: int) -> None:
        """Record that a block was saved (`error_number` 0), or schedule a retry."""
        self._saving.discard(block)
        self._arrays[block.format].pinned.discard(block.start)
        if not error_number:
            self.is_failing = False
            self._arrays.saved.add((block.format, block.start))
            self.last_save = self._clock()
            self.tick()
            return
        self.is_failing = True
        self._to_save[block] = None
        self._pause(error_number)

    def on_discarded(self, error_number: int) -> None:
        """Record that a worker tried to remove a file; pause if it failed."""
        self._discarding -= 1
        if error_number:
            self._pause(error_number)
        self.tick()

    def _pause(self, error_number: int) -> None:
        if self._clock() >= self._retry_at:
            log.warning(
                "state_dir %s: %s (%s); trying again in %g s",
                self._snapshot.directory,
                os.strerror(error_number),
                errno.errorcode.get(error_number, error_number),
                RETRY_SECONDS,
            )
            self._retry_at = self._clock() + RETRY_SECONDS

    def tick(self) -> None:
        """Requeue pending saves and removals, as after a pause; called periodically."""
        if self._to_save or self._to_discard:
            self._queue.add_background(self)

    def discard(self, block: Block) -> None:
        """Schedule the removal of a block from the snapshot, if present."""
        key = (block.format, block.start)
        if key in self._arrays.saved:
            self._arrays.saved.remove(key)
            self._to_discard[block] = None
            self._queue.add_background(self)

    def on_evicted(self, block: Block) -> None:
        """Remove an evicted block from the snapshot, saved or yet to be saved."""
        self._to_save.pop(block, None)
        self.discard(block)


class _Loader:
    """Source of tasks that load the snapshot into the arrays as far as memory allows.

    Attributes:
        pending: The blocks that were handed out and are not filled yet.
    """

    cost_seconds = 0.0
    waiting_since = None

    def __init__(
        self,
        persistence: Persistence,
        arrays: SharedArrays,
        found: dict[Format, dict[int, int]],
    ) -> None:
        self.pending: set[Block] = set()
        self._persistence = persistence
        self._arrays = arrays
        self._found = {format: blocks for format, blocks in found.items() if blocks}

    @property
    def is_loading(self) -> bool:
        return bool(self._found or self.pending)

    def give_up(self, format: Format) -> None:
        self._found.pop(format, None)

    def next_task(self) -> Task | None:
        for format, blocks in list(self._found.items()):
            array = self._arrays[format]
            task = self._arrays.next_task(array, max(blocks.values()), may_evict=False)
            if task is not None:
                self.pending.add(task.block)
                return task
            del self._found[format]
            for start, stop in blocks.items():
                if start >= array.growth.frontier:  # memory has no room for it
                    self._persistence.discard(Block(format, start, stop, 0, 0))
        return None


def _pop(blocks: dict[Block, None]) -> Block:
    block = next(iter(blocks))
    del blocks[block]
    return block
