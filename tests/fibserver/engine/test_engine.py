"""The engine with real worker processes, and its limits without any."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibcommon.costs import first_element_seconds
from fibcommon.formats import FORMATS, Format
from fibserver.core.event_loop import EventLoop
from fibserver.core.statistics import Statistics
from fibserver.engine import engine as engine_module
from fibserver.engine.engine import Engine, Work
from fibserver.engine.stream import Stream
from fibserver.memory import blocks
from fibserver.memory.arena import Arena
from fibserver.protocol.reply_encoding import Slice
from fibserver.settings import ServerSettings
from fibserver.storage.snapshot import Snapshot
from fibserver.workers.worker import Outcome, Report, encode_report, work
from tests.support.expected import expected

JSON, TEXT = FORMATS["json"], FORMATS["text"]

MOST_TURNS = 1000
"""Far more iterations than any test needs: reaching it means that the test hangs."""


class EngineClient:
    """A client that requests elements.

    Attributes:
        answer: The stream of the slice.
        received: The bytes sent so far.
    """

    def __init__(self, engine: Engine, format: Format, stop: int, *, start: int = 0) -> None:
        slice = Slice(b"", format, start, stop, format.slice_size(start, stop), b"")
        self.answer = engine.open_stream(slice, self)
        self.received = b""

    def on_output_ready(self) -> None:
        """Do nothing: `send` polls."""

    def on_stream_started(self, answer: Stream) -> None:
        """Do nothing."""

    def on_stream_failed(self, answer: Stream, code: str) -> None:
        """Do nothing: the error reply is sent like other bytes."""

    def send(self) -> bool:
        """Send the bytes that are ready; return whether all have been sent."""
        self.answer.start(1.0)
        data = b"".join(self.answer.buffers(10**9))
        if data:
            self.received += data
            self.answer.consume(len(data))
        return self.answer.is_done


class Running:
    """An engine with one worker, in an event loop.

    Attributes:
        engine: The engine.
        statistics: Its statistics.
    """

    def __init__(self, directory: Path, work: Work) -> None:
        settings = ServerSettings(workers=1, state_dir=directory)
        self.statistics = Statistics()
        self._loop = EventLoop()
        self.engine = Engine(settings, self._loop, self.statistics, work)
        self.engine.pool.ensure_workers()

    def turn_until(self, is_done: Callable[[], bool]) -> None:
        """Run the loop until `is_done` returns true and the worker has no task."""
        for _ in range(MOST_TURNS):
            is_complete = is_done()
            self.engine.pool.dispatch()
            if is_complete and not self.engine.pool.assigned_tasks:
                return
            self._loop.run_once(0.1)
        raise AssertionError("the worker still has tasks")

    def ask(self, format: Format, stop: int, *, start: int = 0) -> bytes:
        """Return the reply for the elements from `start` up to `stop`."""
        client = EngineClient(self.engine, format, stop, start=start)
        self.turn_until(client.send)
        client.answer.stop()
        return client.received

    def close(self) -> None:
        """Close the engine and its loop."""
        self.engine.close()
        self._loop.close()


Run = Callable[[Work], Running]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run engines that share a state directory; close them after the test."""
    with ExitStack() as stack:

        def run(work: Work) -> Running:
            running = Running(tmp_path, work)
            stack.callback(running.close)
            return running

        yield run


class IdleEngine:
    """An engine without workers, for clients that wait.

    Attributes:
        engine: The engine.
    """

    def __init__(self, directory: Path, workers: int, request_timeout: float) -> None:
        settings = ServerSettings(
            workers=workers, state_dir=directory, request_timeout=request_timeout
        )
        self._loop = EventLoop()
        self.engine = Engine(settings, self._loop, Statistics(), work)

    def ask(self, n: int) -> bytes:
        """Request F(n); return the error reply if it is rejected at once, else b""."""
        client = EngineClient(self.engine, TEXT, n + 1, start=n)
        client.answer.start(self._loop.now)
        client.send()
        return client.received

    def close(self) -> None:
        """Close the engine and its loop."""
        self.engine.close()
        self._loop.close()


def test_expensive_work_waits_no_longer_than_a_client_does(tmp_path: Path) -> None:
    """Replies wait for up to `request_timeout` of predicted work; further ones are rejected."""
    giant = 9_000_000
    cost = first_element_seconds(TEXT, giant)
    for cost_ratio, workers, share in ((1.0, 2, 1), (4.0, 2, 1), (4.0, 4, 3)):
        idle = IdleEngine(tmp_path, workers, request_timeout=8 * cost)
        engine = idle.engine
        engine.pool.cost_ratio = cost_ratio
        fits = int(8 * share / cost_ratio) + 1  # the last one waits for the others
        assert [idle.ask(giant) for _ in range(fits)] == [b""] * fits
        assert engine.queued_seconds == pytest.approx(fits * cost * cost_ratio / share)
        seconds = f"{engine.queued_seconds:.0f}"
        for count in (1, 2):
            error = f"-BUSY overloaded: {seconds} s of work are waiting; try again later\r\n"
            assert idle.ask(giant) == error.encode()
            assert engine.overload_rejections == count
        assert idle.ask(giant // 2) == b"", "cheaper than the queued replies"
        assert idle.ask(100_000) == b"", "cheap: does not wait for them"
        engine.tick(100 * cost)
        assert idle.ask(giant) == b"", "the timeout is longer now"
        idle.close()


def test_number_of_waiting_expensive_replies_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most `MAX_WAITING_STREAMS` expensive replies wait, however low their predicted cost."""
    monkeypatch.setattr(engine_module, "MAX_WAITING_STREAMS", 3)
    idle = IdleEngine(tmp_path, 2, request_timeout=60)
    assert [idle.ask(1_000_000)[:6] for _ in range(4)] == [b"", b"", b"", b"-BUSY "]
    assert idle.ask(100_000) == b""
    assert idle.engine.overload_rejections == 1
    idle.close()


def work_without_memory(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
    """Fail every task with ENOSPC; the main function of a worker."""
    failed = encode_report(Report(Outcome.FAILED, errno.ENOSPC))
    while channel.recv(1024):
        channel.send(failed)


def test_next_engine_loads_saved_blocks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far blocks are saved when the engine is idle, and the next engine loads them."""
    monkeypatch.setattr(blocks, "READ_SECONDS", 0.0)
    monkeypatch.setattr(blocks, "READ_BYTES_PER_SECOND", 1e12)
    answer = expected("json", 20_000, 20_100)
    first = run(work)
    assert first.ask(JSON, 20_100, start=20_000) == answer
    first.turn_until(lambda: not first.engine.has_unsaved_blocks)
    assert first.statistics.blocks_computed == 1
    second = run(work)
    assert second.ask(JSON, 20_100, start=20_000) == answer
    assert (second.statistics.blocks_loaded, second.statistics.blocks_computed) == (1, 0)
    assert second.engine.persistence is not None
    assert second.engine.persistence.unsaved_blocks == 0


def test_no_memory(run: Run) -> None:
    """A reply whose block cannot be allocated is an error, and so is the next one."""
    running = run(work_without_memory)
    for count in (1, 2):
        assert running.ask(JSON, 10) == (
            b"-NOSPACE no room left in /dev/shm: enlarge it or lower memory_limit\r\n"
        )
        assert running.statistics.blocks_failed == count
    assert running.statistics.blocks_computed == 0
