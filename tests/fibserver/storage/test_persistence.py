"""Persistence: which blocks are loaded, saved and discarded, in which order, and disk errors.

The arrays, the queue and the files are real; the test plays the workers and the engine.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibcommon.formats import Format
from fibserver.memory.block_sequence import BlockSequence
from fibserver.memory.blocks import Action, Block, Task
from fibserver.storage.persistence import RETRY_SECONDS, Persistence
from fibserver.storage.snapshot import Snapshot, SnapshotError
from tests.support.small_engine import (
    BLOCK_BYTES,
    ELEMENTS,
    JSON,
    MAX_INDEX,
    TEXT,
    Machine,
)

pytestmark = pytest.mark.usefixtures("small")

MEMORY_LIMIT = 12 * BLOCK_BYTES


class PersistentMachine(Machine):
    """A machine with a snapshot, which completes its own tasks.

    Attributes:
        persistence: The persistence of its arrays.
        done: The completed tasks.
    """

    def __init__(self, directory: Path, memory_limit: int = MEMORY_LIMIT) -> None:
        super().__init__(memory_limit)
        self.snapshot = Snapshot(directory)
        self.persistence = Persistence(self.snapshot, self.arrays, self.queue, self.clock)
        self.done: list[Task] = []

    def next_task(self) -> Task | None:
        """Take a task as an idle worker does: a background task if no other waits."""
        return self.queue.pop() or self.queue.pop_background()

    def complete(self, task: Task) -> None:
        """Carry out a task and report it, as worker and engine do."""
        self.done.append(task)
        block = task.block
        match task.action:
            case Action.SAVE:
                self.snapshot.save(block, *self.arena.block_views(block))
                self.persistence.on_saved(block, 0)
            case Action.DISCARD:
                self.snapshot.discard(block)
                self.persistence.on_discarded(0)
            case _:
                is_loaded = task.action is Action.LOAD and self._load(block)
                if not is_loaded:
                    self.arena.fill(block)
                self.persistence.on_filled(block, is_loaded)
                self.arrays.block_finished(block)

    def _load(self, block: Block) -> bool:
        self.arena.reserve(block)
        try:
            self.snapshot.load(block, *self.arena.block_views(block))
        except (SnapshotError, OSError):
            return False
        return True

    def work(self) -> list[Task]:
        """Complete all tasks; return them."""
        done = len(self.done)
        while (task := self.next_task()) is not None:
            self.complete(task)
        return self.done[done:]

    def drop_tail(self, format: Format) -> Block:
        """Evict the tail of an array, as if another needed the memory."""
        tail = self.arrays[format].evict_tail()
        self.persistence.on_evicted(tail)
        return tail

    def files(self) -> set[tuple[str, int]]:
        """Return the format and the first element of each block file."""
        names = [path.stem for path in self.snapshot.directory.iterdir()]
        return {(name.split("-")[0], int(name.split("-")[1])) for name in names}


Make = Callable[..., PersistentMachine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Make]:
    """Start machines that share a state directory; close them after the test."""
    with ExitStack() as stack:

        def start(memory_limit: int = MEMORY_LIMIT) -> PersistentMachine:
            machine = PersistentMachine(tmp_path, memory_limit)
            stack.callback(machine.close)
            return machine

        yield start


def kinds(tasks: list[Task]) -> list[tuple[Action, str, int]]:
    """Return the action, format and first element of each task."""
    return [(task.action, task.block.format.name, task.block.start) for task in tasks]


def grown(start: Make, *formats: Format) -> PersistentMachine:
    """Start a machine, and compute and save some blocks of each format."""
    machine = start()
    machine.work()
    for format in formats:
        machine.grow(format, 3 * BLOCK_BYTES)
    machine.work()
    return machine


def starts(machine: PersistentMachine, format: Format) -> list[int]:
    """Return the first elements of an array's blocks."""
    growth, blocks = BlockSequence(machine.arena.layout.arrays[format]), []
    while growth.frontier < machine.arrays[format].growth.frontier:
        assert growth.next_size() is not None
        blocks.append(growth.extend().start)
    return blocks


def assert_right(machine: PersistentMachine, format: Format) -> None:
    """Assert that the published elements of an array are correct."""
    published = machine.arrays[format].growth.published
    assert machine.content(format) == b"".join(ELEMENTS[format][:published])
    assert machine.index(format) == [format.offset(n) for n in range(1, published + 1)]


# Saving and loading.


def test_an_empty_folder(start: Make) -> None:
    """With an empty directory there is nothing to load and nothing to save."""
    machine = start()
    assert machine.work() == []
    persistence = machine.persistence
    assert not persistence.is_loading
    assert not persistence.is_saving
    assert (persistence.unsaved_blocks, persistence.saved_blocks) == (0, 0)
    assert persistence.last_save is None


def test_computed_block_is_saved_once(start: Make) -> None:
    """Each computed block is saved in the background, once."""
    machine = start()
    machine.work()
    machine.grow(JSON, 3 * BLOCK_BYTES)
    blocks = starts(machine, JSON)
    assert machine.queue.pop() is None, "saving is a background task"
    assert machine.persistence.unsaved_blocks == len(blocks)
    machine.clock.now += 7
    assert kinds(machine.work()) == [(Action.SAVE, "json", block) for block in blocks]
    assert machine.files() == {("json", block) for block in blocks}
    assert machine.persistence.unsaved_blocks == 0
    assert machine.persistence.saved_blocks == len(blocks)
    assert machine.persistence.last_save == machine.clock.now
    assert machine.work() == []


def test_saved_blocks_are_loaded_in_order(start: Make) -> None:
    """After a restart all blocks are loaded in order, and are correct."""
    before = grown(start, TEXT, JSON)
    machine = start()
    assert machine.persistence.is_loading
    assert machine.queue.pop_background() is None
    loads = [
        (Action.LOAD, format.name, block)
        for format in (JSON, TEXT)
        for block in starts(before, format)
    ]
    assert kinds(machine.work()) == loads
    assert not machine.persistence.is_loading
    assert machine.persistence.unsaved_blocks == 0
    assert machine.persistence.saved_blocks == len(loads)
    for format in (JSON, TEXT):
        assert machine.content(format) == before.content(format) != b""
        assert_right(machine, format)


def test_loading_takes_turns(start: Make) -> None:
    """Blocks for clients are computed between those that are loaded."""
    grown(start, JSON)
    machine = start()
    machine.queue.add(machine.persistence)  # stands for a reply; it has no tasks
    first = machine.next_task()
    assert first is not None
    machine.complete(first)
    task = machine.arrays.next_task(machine.arrays[TEXT], 10)
    assert task is not None
    assert task.action is Action.FILL
    machine.complete(task)
    machine.work()
    for format in (JSON, TEXT):
        assert_right(machine, format)


def test_a_damaged_block_is_saved_again(start: Make) -> None:
    """A block that cannot be loaded is computed, and its file is replaced."""
    before = grown(start, JSON)
    second = starts(before, JSON)[1]
    path = before.snapshot.path(JSON, second)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    machine = start()
    while machine.persistence.unsaved_blocks == 0:
        machine.complete(machine.queue.pop() or pytest.fail("nothing is loaded"))
    assert machine.persistence.saved_blocks == len(starts(before, JSON)) - 1
    assert kinds(machine.work())[-1] == (Action.SAVE, "json", second)
    assert path.read_bytes() == content
    assert_right(machine, JSON)


def test_unusable_files_are_logged(start: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Unusable files are logged by reason, with their number, in one warning each."""
    before = grown(start, JSON)
    for block in starts(before, JSON)[1:3]:
        before.snapshot.path(JSON, block).write_bytes(b"")
    machine = start()
    [warning] = [message for message in caplog.messages if "block files" in message]
    assert "ignored 2 block files: wrong file size; recomputing them when needed" in warning
    tasks = kinds(machine.work())
    saves = [(Action.SAVE, "json", block) for block in starts(before, JSON)[1:3]]
    assert tasks[-2:] == saves


def test_gaps_are_filled(start: Make) -> None:
    """A missing block between saved ones is computed, so that those after it can be used."""
    before = grown(start, JSON)
    blocks = starts(before, JSON)
    before.snapshot.path(JSON, blocks[1]).unlink()
    machine = start()
    tasks = kinds(machine.work())
    assert tasks[:-1] == [
        (Action.FILL if block == blocks[1] else Action.LOAD, "json", block) for block in blocks
    ]
    assert tasks[-1] == (Action.SAVE, "json", blocks[1])
    assert machine.content(JSON) == before.content(JSON)


def test_directory_that_cannot_be_created(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the directory cannot be created or read, the server logs that and starts without it."""
    path = tmp_path / "state"
    path.touch()
    machine = PersistentMachine(path)
    assert machine.work() == []
    assert "starting without" in caplog.text
    machine.close()


# Memory.


def test_no_room(start: Make) -> None:
    """Blocks for which memory has no room are discarded; loading evicts nothing."""
    before = grown(start, TEXT, JSON)
    blocks = starts(before, JSON)
    memory_limit = JSON.offset(blocks[-1])
    machine = start(memory_limit)
    tasks = kinds(machine.work())
    discarded = [("json", blocks[-1])] + [("text", block) for block in starts(before, TEXT)]
    assert [task for task in tasks if task[0] is Action.DISCARD] == [
        (Action.DISCARD, *block) for block in discarded
    ]
    assert machine.arrays[JSON].growth.published == blocks[-1]
    assert machine.dropped == []
    assert machine.files() == {("json", block) for block in blocks[:-1]}
    assert machine.persistence.saved_blocks == len(blocks) - 1
    assert not machine.persistence.is_loading


def test_evicted_block_is_removed_from_snapshot(start: Make) -> None:
    """An evicted block is removed from the snapshot and computed when it is needed again."""
    machine = grown(start, JSON)
    tail = machine.drop_tail(JSON)
    assert machine.persistence.saved_blocks == len(starts(machine, JSON))
    assert kinds(machine.work()) == [(Action.DISCARD, "json", tail.start)]
    assert ("json", tail.start) not in machine.files()
    task = machine.arrays.next_task(machine.arrays[JSON], MAX_INDEX)
    assert task == Task(Action.FILL, tail)


def test_block_evicted_before_saving(start: Make) -> None:
    """A block that is evicted before it was saved is neither saved nor discarded."""
    machine = start()
    machine.work()
    machine.grow(JSON, 100)
    machine.drop_tail(JSON)
    assert machine.persistence.unsaved_blocks == 0
    assert machine.work() == []


def test_block_computed_again_is_saved(start: Make) -> None:
    """An evicted block that is computed again before its file is removed is saved."""
    machine = grown(start, JSON)
    tail = machine.drop_tail(JSON)
    machine.grow(JSON, tail.size + machine.arrays[JSON].growth.frontier_bytes)
    assert (Action.DISCARD, "json", tail.start) not in kinds(machine.work())
    assert ("json", tail.start) in machine.files()


def test_block_without_room_is_saved_later(start: Make) -> None:
    """A block that had no room when loading, and is computed later, is saved in the end."""
    before = grown(start, JSON, TEXT)
    machine = start(JSON.offset(starts(before, JSON)[-1]))
    while (task := machine.queue.pop()) is not None:
        machine.complete(task)
    machine.drop_tail(JSON)
    machine.grow(TEXT, 100)
    machine.work()
    assert ("text", 0) in machine.files()


def test_nothing_is_saved_while_a_file_is_being_removed(start: Make) -> None:
    """A block is not saved while a worker may still be removing its file."""
    machine = grown(start, JSON)
    tail = machine.drop_tail(JSON)
    removal = machine.next_task()
    assert removal == Task(Action.DISCARD, tail)
    machine.grow(JSON, tail.size + machine.arrays[JSON].growth.frontier_bytes)
    assert machine.next_task() is None
    machine.complete(removal)
    assert kinds(machine.work()) == [(Action.SAVE, "json", tail.start)]
    assert ("json", tail.start) in machine.files()


def test_a_block_stays_while_it_is_saved(start: Make) -> None:
    """A tail is not evicted while a worker saves it."""
    machine = start()
    machine.work()
    machine.grow(JSON, 100)
    array = machine.arrays[JSON]
    for error_number in (errno.ENOSPC, 0):
        assert array.can_evict_tail
        machine.clock.now += RETRY_SECONDS
        machine.persistence.tick()
        task = machine.next_task()
        assert task is not None
        assert task.action is Action.SAVE
        assert machine.persistence.is_saving
        assert machine.persistence.unsaved_blocks == 1
        assert not array.can_evict_tail
        machine.persistence.on_saved(task.block, error_number)
        assert not machine.persistence.is_saving
        assert array.can_evict_tail


def test_loading_gives_up_where_it_fails(start: Make) -> None:
    """If a block cannot be allocated, loading of its format ends instead of retrying forever."""
    before = grown(start, JSON, TEXT)
    machine = start()
    for _ in range(2):  # json's first block, then text's
        task = machine.next_task()
        assert task is not None
        assert task.action is Action.LOAD
        machine.persistence.on_failed(task.block)
        machine.fail(task)
    assert machine.next_task() is None
    assert not machine.persistence.is_loading
    assert machine.files() == before.files(), "they can be loaded once there is memory"
    task = machine.arrays.next_task(machine.arrays[JSON], 1)
    assert task is not None
    assert task.action is Action.LOAD


# Disk errors.


def fail_to_save(machine: PersistentMachine, error_number: int = errno.ENOSPC) -> Block:
    """Take the next save task and report that it failed; return its block."""
    task = machine.next_task()
    assert task is not None
    assert task.action is Action.SAVE
    machine.persistence.on_saved(task.block, error_number)
    return task.block


def test_a_full_disk_is_left_alone(start: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A failed save causes one warning and a pause; then all blocks are saved."""
    machine = start()
    machine.work()
    machine.grow(JSON, 3 * BLOCK_BYTES)
    blocks = starts(machine, JSON)
    fail_to_save(machine)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "No space left on device (ENOSPC); trying again in 30 s" in warnings[0].getMessage()
    assert machine.persistence.is_failing
    assert machine.persistence.last_save is None
    assert machine.persistence.unsaved_blocks == len(blocks)
    machine.clock.now += RETRY_SECONDS - 0.001
    machine.persistence.tick()
    machine.grow(TEXT, 100)
    assert machine.work() == []
    machine.clock.now += 0.001
    machine.persistence.tick()
    saves = {(Action.SAVE, "json", block) for block in blocks} | {(Action.SAVE, "text", 0)}
    assert set(kinds(machine.work())) == saves
    assert not machine.persistence.is_failing
    assert machine.persistence.unsaved_blocks == 0


def test_blocks_are_saved_one_at_a_time(start: Make) -> None:
    """Only one worker at a time saves, so that a disk that hangs blocks only one."""
    machine = start()
    machine.work()
    machine.grow(JSON, 3 * BLOCK_BYTES)
    for block in starts(machine, JSON):
        task = machine.next_task()
        assert task is not None
        assert (task.action, task.block.start) == (Action.SAVE, block)
        assert machine.next_task() is None
        machine.complete(task)
    assert machine.persistence.unsaved_blocks == 0


def test_each_pause_is_logged(start: Make, caplog: pytest.LogCaptureFixture) -> None:
    """If the disk still fails after a pause, it is logged and there is another pause."""
    machine = start()
    machine.work()
    machine.grow(JSON, 100)
    for count in range(1, 4):
        fail_to_save(machine)
        assert caplog.text.count("trying again") == count
        machine.persistence.tick()
        assert machine.next_task() is None
        machine.clock.now += RETRY_SECONDS
        machine.persistence.tick()


def test_a_block_that_was_not_saved_may_be_dropped(start: Make) -> None:
    """A block that is evicted while the disk is full is not saved later."""
    machine = start()
    machine.work()
    machine.grow(JSON, 100)
    fail_to_save(machine)
    machine.drop_tail(JSON)
    assert machine.persistence.unsaved_blocks == 0
    machine.clock.now += RETRY_SECONDS
    machine.persistence.tick()
    assert machine.work() == []


def test_a_file_that_cannot_be_removed(start: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A failed removal causes a warning and a pause; other blocks are saved afterwards."""
    machine = grown(start, JSON)
    machine.drop_tail(JSON)
    task = machine.next_task()
    assert task is not None
    assert task.action is Action.DISCARD
    machine.grow(TEXT, 100)
    machine.persistence.on_discarded(errno.EROFS)
    assert "EROFS" in caplog.text
    assert machine.work() == []
    machine.clock.now += RETRY_SECONDS
    machine.persistence.tick()
    assert kinds(machine.work()) == [(Action.SAVE, "text", 0)]
