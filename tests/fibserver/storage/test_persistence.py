"""Persistence: which blocks are saved, when the snapshot is trimmed, and disk errors.

The far blocks, the queue and the files are real; the test plays the workers and the engine.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibserver.memory.blocks import NO_BLOCK, Action, Block, Task
from fibserver.memory.far_block import FarBlock
from fibserver.storage import persistence as module
from fibserver.storage.persistence import RETRY_SECONDS, Persistence
from fibserver.storage.snapshot import Snapshot, SnapshotSize, checksum
from tests.support.small_engine import BLOCK_BYTES, ELEMENTS, JSON, Machine

pytestmark = pytest.mark.usefixtures("small")

MEMORY_LIMIT = 64 * BLOCK_BYTES

STATE_LIMIT = 1 << 30

COUNT = 16
"""Elements of a block; from element 1,000 on, it takes one page."""

HEADER_BYTES = 12
TRIM = Task(Action.TRIM, NO_BLOCK)


class Reader:
    """A claimant that ignores its notifications."""

    def on_progress(self) -> None:
        """Do nothing."""

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Do nothing."""

    def on_claim_lost(self, block: FarBlock) -> None:
        """Do nothing."""

    def on_free_slot(self) -> None:
        """Do nothing."""


class PersistentMachine(Machine):
    """A machine with a snapshot, which carries out its own tasks.

    Attributes:
        snapshot: The files.
        persistence: The persistence of its far blocks.
    """

    def __init__(self, directory: Path, state_limit: int = STATE_LIMIT) -> None:
        super().__init__(MEMORY_LIMIT)
        self.snapshot = Snapshot(directory, state_limit)
        self.persistence = Persistence(self.snapshot, self.far_blocks, self.queue, self.clock)

    def claim(self, reader: Reader, number: int) -> FarBlock:
        """Claim a block for a reader."""
        start = 1000 + COUNT * number
        claim = self.far_blocks.claim(reader, (JSON, start, start + COUNT))
        assert claim is not None
        return claim[0]

    def fill(self, block: Block) -> None:
        """Compute a claimed block and report it, as worker and engine do."""
        self.arena.fill(block)
        self.persistence.on_computed(block, checksum(block, self.arena.view(block)))
        self.far_blocks.block_finished(block)

    def compute(self, number: int) -> FarBlock:
        """Compute a block for a reader that then releases it."""
        reader = Reader()
        far_block = self.claim(reader, number)
        self.fill(far_block.block)
        self.far_blocks.release(reader, far_block)
        return far_block

    def next_task(self) -> Task | None:
        """Take a task as an idle worker does: a background task if no other waits."""
        return self.queue.pop() or self.queue.pop_background()

    def carry_out(self, task: Task) -> None:
        """Carry out a task and report it, as worker and engine do."""
        if task.action is Action.SAVE:
            grown = self.snapshot.save(task.block, self.arena.view(task.block), task.checksum)
            self.persistence.on_saved(task, grown, 0)
        else:
            assert task == TRIM
            self.persistence.on_trimmed(self.snapshot.trim(), 0)

    def work(self) -> list[Task]:
        """Carry out all tasks; return them."""
        done: list[Task] = []
        while (task := self.next_task()) is not None:
            assert len(done) < 100, "the tasks never end"
            self.carry_out(task)
            done.append(task)
        return done

    def next_save(self) -> Task:
        """Take the next task, which must save a block."""
        task = self.next_task()
        assert task is not None
        assert task.action is Action.SAVE
        return task

    def fail(self, task: Task, *_: str, error_number: int = errno.ENOSPC) -> None:
        """Report that a block was not saved."""
        self.persistence.on_saved(task, SnapshotSize(0, 0), error_number)

    def pause(self, seconds: float = RETRY_SECONDS) -> None:
        """Let time pass, as the event loop does."""
        self.clock.now += seconds
        self.persistence.tick()

    def load(self, block: Block) -> bytes | None:
        """Return what the file of a block contains, or None if it has none."""
        data = bytearray(block.size)
        return bytes(data) if self.snapshot.load(block, memoryview(data)) else None

    def file_names(self) -> set[str]:
        """Return the names of all files."""
        return {path.name for path in self.snapshot.directory.iterdir()}


Make = Callable[..., PersistentMachine]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start machines that share a state directory; close them after the test."""
    with ExitStack() as stack:

        def make(state_limit: int = STATE_LIMIT) -> PersistentMachine:
            machine = PersistentMachine(tmp_path / "state", state_limit)
            stack.callback(machine.close)
            return machine

        yield make


@pytest.fixture
def machine(make: Make) -> PersistentMachine:
    """A machine that has looked at its empty directory."""
    machine = make()
    assert machine.work() == [TRIM]
    return machine


def blocks(tasks: list[Task]) -> set[Block]:
    """Return the blocks of save tasks."""
    assert {task.action for task in tasks} <= {Action.SAVE}
    assert len({task.block for task in tasks}) == len(tasks)
    return {task.block for task in tasks}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings in the log."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Saving.


def test_the_first_task_trims(make: Make, tmp_path: Path) -> None:
    """The directory is read by a worker when no other task waits, not at the start."""
    machine = make()
    assert not (tmp_path / "state").exists()
    assert machine.queue.pop() is None
    assert machine.work() == [TRIM]
    assert (tmp_path / "state").is_dir()
    persistence = machine.persistence
    assert persistence.size == SnapshotSize(0, 0)
    assert persistence.unsaved_blocks == 0
    assert persistence.last_save is None
    assert not persistence.is_failing
    persistence.tick()
    assert machine.next_task() is None


def test_computed_blocks_are_saved_once(machine: PersistentMachine) -> None:
    """Each computed block is saved in the background, once, with the checksum of its bytes."""
    computed = {machine.compute(number).block for number in range(3)}
    assert machine.queue.pop() is None, "saving is a background task"
    assert machine.persistence.unsaved_blocks == 3
    machine.clock.now += 7
    tasks = machine.work()
    assert blocks(tasks) == computed
    for task in tasks:
        block = task.block
        assert task.checksum == checksum(block, machine.arena.view(block))
        assert machine.load(block) == b"".join(ELEMENTS[JSON][block.start : block.stop])
    persistence = machine.persistence
    assert persistence.unsaved_blocks == 0
    assert persistence.size == SnapshotSize(
        3, sum(HEADER_BYTES + block.size for block in computed)
    )
    assert persistence.last_save == machine.clock.now
    machine.pause()
    assert machine.work() == []


def test_a_restart_counts_files_and_loads_none(make: Make) -> None:
    """After a restart the number and size of the files are known, and no block is in memory."""
    before = make()
    before.compute(0)
    before.compute(1)
    before.work()
    machine = make()
    assert machine.work() == [TRIM]
    files = list(before.snapshot.directory.iterdir())
    total = sum(path.stat().st_size for path in files)
    assert machine.persistence.size == SnapshotSize(2, total)
    assert machine.persistence.unsaved_blocks == 0
    assert machine.far_blocks.kept_blocks == 0


def test_one_task_at_a_time(machine: PersistentMachine) -> None:
    """A disk that hangs blocks one worker: the next task is given out after the report."""
    for number in range(3):
        machine.compute(number)
    for number in range(3, 6):
        task = machine.next_save()
        assert machine.persistence.is_saving
        assert machine.persistence.unsaved_blocks == 3, "the one being saved included"
        machine.pause()
        assert machine.next_task() is None
        machine.compute(number)
        assert machine.next_task() is None
        machine.carry_out(task)
        assert not machine.persistence.is_saving
    assert len(machine.work()) == 3


def test_nothing_is_saved_while_trimming(make: Make) -> None:
    """No block is saved before the first look at the directory has ended."""
    machine = make()
    machine.compute(0)
    assert machine.next_task() == TRIM
    machine.pause()
    assert machine.next_task() is None
    machine.carry_out(TRIM)
    assert machine.next_save()


def test_a_block_is_pinned_while_it_is_saved(machine: PersistentMachine) -> None:
    """A block is not evicted while a worker saves it, whether that succeeds or fails."""
    far_block = machine.compute(0)
    for error_number in (errno.ENOSPC, errno.EBADMSG, 0):
        assert machine.far_blocks.oldest_use is not None
        task = machine.next_save()
        assert far_block.pins == 1
        assert machine.far_blocks.oldest_use is None
        machine.fail(task, error_number=error_number)
        assert far_block.pins == 0
        machine.persistence.on_computed(task.block, task.checksum)  # not retried after EBADMSG
        machine.pause()


def test_a_pinned_block_survives_a_lack_of_memory(machine: PersistentMachine) -> None:
    """A block whose last claim ends while it is saved stays, even if no memory is left."""
    reader = Reader()
    far_block = machine.claim(reader, 0)
    machine.fill(far_block.block)
    task = machine.next_save()
    machine.memory.limit_bytes = 0
    machine.far_blocks.release(reader, far_block)
    machine.carry_out(task)
    assert machine.load(far_block.block) is not None


def test_evicted_blocks_are_skipped(machine: PersistentMachine) -> None:
    """A block that is evicted before it was saved is not saved."""
    machine.compute(0)
    machine.clock.now += 1
    kept = machine.compute(1)
    machine.far_blocks.evict_oldest()
    assert blocks(machine.work()) == {kept.block}
    assert machine.persistence.unsaved_blocks == 0
    assert machine.persistence.size.blocks == 1


def test_only_evicted_blocks(machine: PersistentMachine) -> None:
    """If all blocks were evicted, none is left to save."""
    for number in range(3):
        machine.compute(number)
    while machine.far_blocks.kept_blocks:
        machine.far_blocks.evict_oldest()
    assert machine.next_task() is None
    assert machine.persistence.unsaved_blocks == 0


def test_a_block_computed_again_elsewhere(machine: PersistentMachine) -> None:
    """A block that was evicted and computed at another position is saved from there, once."""
    old = machine.compute(0).block
    machine.far_blocks.evict_oldest()
    machine.claim(Reader(), 5)  # takes the old position
    new = machine.compute(0).block
    assert new.position != old.position
    assert blocks(machine.work()) == {new}
    assert machine.load(new) is not None


def test_a_block_that_is_being_computed_again(machine: PersistentMachine) -> None:
    """A block is not saved before it is filled, even if it was filled there before."""
    old = machine.compute(0).block
    machine.far_blocks.evict_oldest()
    reader = Reader()
    again = machine.claim(reader, 0)
    assert again.block == old
    assert machine.next_task() is None
    machine.fill(again.block)
    assert blocks(machine.work()) == {again.block}


def test_the_number_of_unsaved_blocks_is_limited(
    machine: PersistentMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the maximum number of blocks to save, the oldest are dropped."""
    monkeypatch.setattr(module, "MAX_UNSAVED_BLOCKS", 3)
    computed = [machine.compute(number).block for number in range(5)]
    assert machine.persistence.unsaved_blocks == 3
    assert blocks(machine.work()) == set(computed[2:])


# Trimming.


def test_trimmed_when_above_the_limit(make: Make) -> None:
    """The snapshot is trimmed when, and only when, saving has exceeded the limit."""
    sizes = [
        JSON.slice_size(1000 + COUNT * number, 1000 + COUNT * (number + 1)) for number in (0, 3)
    ]
    machine = make(state_limit=3 * sizes[1])
    machine.work()
    for number in range(4):
        machine.compute(number)
        tasks = machine.work()
        assert TRIM not in tasks[:1]
        assert (tasks[-1] == TRIM) == (number == 3)
    names = machine.file_names()
    total = sum((machine.snapshot.directory / name).stat().st_size for name in names)
    assert total <= machine.snapshot.limit_bytes
    assert machine.persistence.size == SnapshotSize(len(names), total)


def test_trimming_goes_before_saving(make: Make) -> None:
    """Above the limit, no block is saved before the snapshot was trimmed."""
    machine = make()
    machine.work()
    machine.compute(0)
    machine.compute(1)
    machine.snapshot.limit_bytes = 10
    machine.carry_out(machine.next_save())
    assert machine.next_task() == TRIM


def test_a_directory_that_cannot_be_created(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If trimming fails, that is logged, and retried after a pause before anything is saved."""
    (tmp_path / "state").touch()
    machine = make()
    for count in (1, 2):
        assert machine.next_task() == TRIM
        with pytest.raises(FileExistsError):
            machine.snapshot.trim()
        machine.persistence.on_trimmed(SnapshotSize(0, 0), errno.EEXIST)
        assert machine.persistence.is_failing
        assert len(warnings(caplog)) == count
        machine.pause(RETRY_SECONDS - 1)
        assert machine.next_task() is None
        machine.pause(1)
    assert "File exists (EEXIST); trying again in 30 s" in caplog.text
    (tmp_path / "state").unlink()
    machine.compute(0)
    assert [task.action for task in machine.work()] == [Action.TRIM, Action.SAVE]
    assert not machine.persistence.is_failing


# Disk errors.


def test_a_full_disk_is_left_alone(
    machine: PersistentMachine, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed save causes one warning and a pause; then all blocks are saved."""
    computed = {machine.compute(number).block for number in range(3)}
    machine.fail(machine.next_save())
    (warning,) = warnings(caplog)
    assert "No space left on device (ENOSPC); trying again in 30 s" in warning
    assert str(machine.snapshot.directory) in warning
    persistence = machine.persistence
    assert persistence.is_failing
    assert persistence.last_save is None
    assert persistence.unsaved_blocks == 3
    assert persistence.size == SnapshotSize(0, 0)
    machine.pause(RETRY_SECONDS - 0.001)
    computed.add(machine.compute(3).block)
    assert machine.work() == []
    machine.pause(0.001)
    assert blocks(machine.work()) == computed
    assert not persistence.is_failing
    assert persistence.unsaved_blocks == 0


def test_each_pause_is_logged(
    machine: PersistentMachine, caplog: pytest.LogCaptureFixture
) -> None:
    """If the disk still fails after a pause, it is logged and there is another pause."""
    machine.compute(0)
    for count in range(1, 4):
        machine.fail(machine.next_save())
        assert len(warnings(caplog)) == count
        machine.persistence.tick()
        assert machine.next_task() is None
        machine.pause()


def test_a_block_that_cannot_be_saved_delays_no_other(machine: PersistentMachine) -> None:
    """A block that could not be saved is tried last: its file may be the only cause."""
    computed = {machine.compute(number).block for number in range(3)}
    failed = machine.next_save()
    machine.fail(failed, error_number=errno.EISDIR)
    machine.pause()
    retried = [task.block for task in machine.work()]
    assert retried[-1] == failed.block
    assert set(retried) == computed


def test_a_block_that_has_changed_is_not_retried(machine: PersistentMachine) -> None:
    """A block that has changed in memory is not saved later; other blocks are."""
    changed = machine.compute(0).block
    task = machine.next_save()
    machine.fail(task, error_number=errno.EBADMSG)
    assert machine.persistence.unsaved_blocks == 0
    other = machine.compute(1).block
    machine.pause()
    assert blocks(machine.work()) == {other}
    assert machine.load(changed) is None


def test_a_block_that_was_not_saved_may_be_evicted(machine: PersistentMachine) -> None:
    """A block that is evicted while the disk is full is not saved later."""
    machine.compute(0)
    machine.fail(machine.next_save())
    machine.far_blocks.evict_oldest()
    machine.pause()
    assert machine.work() == []
    assert machine.persistence.unsaved_blocks == 0


def test_unknown_error_numbers_are_logged(
    machine: PersistentMachine, caplog: pytest.LogCaptureFixture
) -> None:
    """An error number without a name is logged as a number."""
    machine.compute(0)
    machine.fail(machine.next_save(), error_number=4711)
    assert "Unknown error 4711 (4711)" in caplog.text


def test_a_block_above_half_of_the_limit_is_not_saved(tmp_path: Path) -> None:
    """A block larger than half of the limit is not saved: it would displace all others."""
    machine = PersistentMachine(tmp_path)
    try:
        size = machine.compute(0).block.size
        assert machine.persistence.unsaved_blocks == 1
        machine.snapshot.limit_bytes = 2 * size - 1
        machine.compute(1)
        assert machine.persistence.unsaved_blocks == 1
    finally:
        machine.close()
