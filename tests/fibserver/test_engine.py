"""The engine with real worker processes: what it makes of what they report."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibclient.formats import FORMATS, Format
from fibserver.answer import Answer
from fibserver.arena import Arena
from fibserver.engine import Engine, Work
from fibserver.event_loop import EventLoop
from fibserver.replies import Slice
from fibserver.settings import Settings
from fibserver.snapshot import Snapshot
from fibserver.statistics import Statistics
from fibserver.worker import Outcome, work
from fibserver.worker_pool import TASKS_IN_HAND
from tests.numbers import expected

JSON, TEXT = FORMATS["json"], FORMATS["text"]

MOST_TURNS = 1000
"""Far above what anything here takes: reaching it means that it would never end."""


class Client:
    """A client that wants the first numbers.

    Attributes:
        answer: under way.
        received: what was sent of it.
    """

    def __init__(self, engine: Engine, format: Format, stop: int) -> None:
        slice = Slice(b"", format, 0, stop, format.slice_size(0, stop), b"")
        self.answer = engine.answer(slice, self)
        self.received = b""

    def on_answer_ready(self) -> None:
        """Nothing: it looks every turn."""

    def on_answer_begun(self, answer: Answer) -> None:
        """Nothing."""

    def on_answer_failed(self, answer: Answer, code: str) -> None:
        """Nothing: the error is sent."""

    def send(self) -> bool:
        """Send what there is; return whether all has been sent."""
        self.answer.start(1.0)
        data = b"".join(self.answer.buffers(10**9))
        if data:
            self.received += data
            self.answer.drop(len(data))
        return self.answer.is_done


class Running:
    """An engine with one worker, in its loop.

    Attributes:
        engine: it.
        statistics: its.
    """

    def __init__(self, directory: Path, work: Work) -> None:
        settings = Settings(workers=1, state_dir=directory)
        self.statistics = Statistics()
        self._loop = EventLoop()
        self.engine = Engine(settings, self._loop, self.statistics, work)
        self.engine.pool.top_up()

    def turn_until(self, is_done: Callable[[], bool]) -> None:
        """Take turns until something holds and the worker has nothing to do."""
        for _ in range(MOST_TURNS):
            has_come = is_done()
            self.engine.pool.hand_out()
            if has_come and not self.engine.pool.tasks_in_hand:
                return
            self._loop.turn(0.1)
        raise AssertionError("the engine does not come to rest")

    def ask(self, format: Format, stop: int) -> bytes:
        """Return the bytes of an answer."""
        client = Client(self.engine, format, stop)
        self.turn_until(client.send)
        client.answer.stop()
        return client.received

    def close(self) -> None:
        """End it."""
        self.engine.close()
        self._loop.close()


Run = Callable[[Work], Running]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run engines that share a folder and end with the test."""
    with ExitStack() as stack:

        def run(work: Work) -> Running:
            running = Running(tmp_path, work)
            stack.callback(running.close)
            return running

        yield run


def work_without_memory(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
    """Say of every task that there is no memory for it."""
    failed = struct.pack("<BI", Outcome.FAILED, errno.ENOSPC)
    while channel.recv(1024):
        channel.send(failed)


def test_what_one_saves_another_loads(run: Run) -> None:
    """Blocks are saved when there is nothing else to do, and need not be computed again."""
    first = run(work)
    for format in (JSON, TEXT):
        assert first.ask(format, 2000) == expected(format.name, 0, 2000)
    first.turn_until(lambda: not first.engine.has_to_save)
    second = run(work)
    persistence = second.engine.persistence
    assert persistence is not None
    second.turn_until(lambda: not persistence.is_loading)
    assert persistence.unsaved_blocks == 0, "all were taken from the snapshot"
    for format in (JSON, TEXT):
        assert second.engine.arrays[format].growth.published >= 2000
        assert second.ask(format, 2000) == expected(format.name, 0, 2000)


def test_no_memory(run: Run) -> None:
    """An answer whose block cannot be had for want of memory says so, and so does the next."""
    running = run(work_without_memory)
    for count in (1, 2):
        assert running.ask(JSON, 10) == b"-NOSPACE no room left in /dev/shm\r\n"
        assert running.statistics.blocks_failed == count
    assert running.statistics.blocks_filled == 0


def test_loading_without_memory_comes_to_an_end(run: Run) -> None:
    """When /dev/shm is full at the start, loading is given up, not tried over and over."""
    first = run(work)
    for format in (JSON, TEXT):
        first.ask(format, 2000)
    first.turn_until(lambda: not first.engine.has_to_save)
    second = run(work_without_memory)
    persistence = second.engine.persistence
    assert persistence is not None
    second.turn_until(lambda: not persistence.is_loading)
    assert 2 <= second.statistics.blocks_failed <= 2 * TASKS_IN_HAND
    assert persistence.saved_blocks > 4, "they are of use when there is memory again"
