"""Persistence: which blocks the snapshot has, and which are still to be saved.

All work on files is done by workers: loading in turn with the requests of clients, saving
and discarding when nobody waits for a worker. So the loop never waits for a disk, and a disk
that is full, slow or read-only costs nothing but the snapshot. The snapshot follows the arrays:
what they give back leaves it too.
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
"""So long nothing is tried after the disk has said no."""


class Persistence:
    """What is in the snapshot, and what is to be done about the rest.

    As a source of tasks it stands in the background and saves.

    Attributes:
        last_save: when a block was last saved, on the clock; None if never.
        is_failing: whether the last try to save failed.
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
        """Look at what there is, and have it loaded."""
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
        self._discarding = 0  # how many workers have a file to remove
        self._loader = _Loader(self, arrays, self._scan())
        queue.add(self._loader)

    def _scan(self) -> dict[Format, dict[int, int]]:
        try:
            found, useless = self._snapshot.scan()
        except OSError as error:
            log.warning("state_dir %s: %s; starting without", self._snapshot.directory, error)
            return {}
        for reason, count in useless.items():
            log.warning(
                "state_dir %s: %s block files are %s; computed again when needed",
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
        """Whether blocks are still to be loaded."""
        return self._loader.is_loading

    @property
    def unsaved_blocks(self) -> int:
        """How many resident blocks are not in the snapshot."""
        return len(self._to_save) + len(self._saving)

    @property
    def is_saving(self) -> bool:
        """Whether a worker is saving a block."""
        return bool(self._saving)

    @property
    def saved_blocks(self) -> int:
        """How many blocks are in the snapshot."""
        return len(self._arrays.saved)

    def next_task(self) -> Task | None:
        """Return the next block to discard or to save."""
        if self._clock() < self._retry_at:
            return None
        if self._to_discard:
            self._discarding += 1
            return Task(Action.DISCARD, _pop(self._to_discard))
        # A worker that removes a file could be overtaken by one that saves it again; and blocks
        # are saved one at a time, since a disk that hangs must not take every worker.
        if self._to_save and not self._discarding and not self._saving:
            block = _pop(self._to_save)
            self._saving.add(block)
            self._arrays[block.format].pinned.add(block.start)
            return Task(Action.SAVE, block)
        return None

    def on_filled(self, block: Block, is_saved: bool) -> None:
        """Take note that a resident block is filled.

        Args:
            block: which.
            is_saved: whether it was loaded, so that the snapshot has it.
        """
        self._loader.pending.discard(block)
        if is_saved:
            return
        self._arrays.saved.discard((block.format, block.start))
        self._to_discard.pop(block, None)
        self._to_save[block] = None
        self._queue.add_background(self)

    def on_failed(self, block: Block) -> None:
        """Take note that a resident block cannot be had: to load more would only fail again."""
        self._loader.pending.discard(block)
        self._loader.give_up(block.format)

    def on_saved(self, block: Block, error_number: int) -> None:
        """Take note that a block was saved, or why not."""
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
        """Take note that a file was removed, or why not."""
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
        """From time to time: go on after a pause."""
        if self._to_save or self._to_discard:
            self._queue.add_background(self)

    def discard(self, block: Block) -> None:
        """Have a block removed from the snapshot, if it is there."""
        key = (block.format, block.start)
        if key in self._arrays.saved:
            self._arrays.saved.remove(key)
            self._to_discard[block] = None
            self._queue.add_background(self)

    def on_dropped(self, block: Block) -> None:
        """Take note that a block is no more resident."""
        self._to_save.pop(block, None)
        self.discard(block)


class _Loader:
    """A source that has the arrays grow as far as the snapshot goes, and memory allows.

    Attributes:
        pending: the blocks that were handed out and are not there yet.
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
            task = self._arrays.next_task(array, max(blocks.values()), may_displace=False)
            if task is not None:
                self.pending.add(task.block)
                return task
            del self._found[format]
            for start, stop in blocks.items():
                if start >= array.growth.frontier:  # there is no room for it
                    self._persistence.discard(Block(format, start, stop, 0, 0))
        return None


def _pop(blocks: dict[Block, None]) -> Block:
    block = next(iter(blocks))
    del blocks[block]
    return block
