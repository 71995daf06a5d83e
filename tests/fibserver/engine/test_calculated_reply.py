"""Replies with values that workers calculate: waiting, sharing, failures and sending."""

import pytest

from fibserver.core.fair_queue import FairQueue
from fibserver.engine.calculated_reply import CalculatedReply, Calculations
from fibserver.engine.stream import Stream
from fibserver.memory.blocks import Action, Task
from fibserver.protocol.reply_encoding import Calculation, encode
from tests.support.small_engine import FakeClock

EXPRESSION = b"mod 100 7"


class Scene:
    """A queue, and replies whose notifications are recorded.

    Attributes:
        queue: The queue for workers.
        refused: Reason why replies must not wait, None if they may.
        ready: Number of calls of `on_output_ready`.
        begun: The replies that began to be sent.
        failures: The codes of the replies that failed.
    """

    def __init__(self) -> None:
        self.queue = FairQueue(FakeClock())
        self.calculations = Calculations()
        self.refused: str | None = None
        self.ready = 0
        self.begun: list[Stream] = []
        self.failures: list[str] = []

    def reply(self, expression: bytes = EXPRESSION, cost_seconds: float = 1.0) -> CalculatedReply:
        """Create a reply."""
        calculation = Calculation(expression, cost_seconds, encode)
        return CalculatedReply(
            calculation, self.calculations, self.queue, lambda cost: self.refused, self
        )

    def started(self, expression: bytes = EXPRESSION) -> CalculatedReply:
        """Create and start a reply."""
        reply = self.reply(expression)
        reply.start(5.0)
        return reply

    def take(self) -> Task:
        """Take the next task, which must exist."""
        task = self.queue.pop()
        assert task is not None
        return task

    def on_output_ready(self) -> None:
        """Count the call."""
        self.ready += 1

    def on_stream_started(self, stream: Stream) -> None:
        """Record the reply."""
        self.begun.append(stream)

    def on_stream_failed(self, stream: Stream, code: str) -> None:
        """Record the code."""
        self.failures.append(code)


@pytest.fixture
def scene() -> Scene:
    """An empty queue."""
    return Scene()


def test_a_value_is_sent(scene: Scene) -> None:
    """A reply waits for its value, and may be sent in parts."""
    reply = scene.reply()
    assert scene.queue.pop() is None, "it was not started"
    reply.start(5.0)
    reply.start(6.0)
    assert (reply.started_at, reply.waiting_since) == (5.0, 5.0)
    assert not reply.is_ready
    assert reply.buffers(100) == []
    assert reply.bytes_left > 0
    task = scene.take()
    assert (task.action, task.expression) == (Action.CALCULATE, EXPRESSION)
    assert (task.cost_seconds, task.is_expensive) == (1.0, True)
    scene.calculations.finish(task, b"354")
    assert scene.ready == 1
    assert reply.buffers(1) == [b"$3\r\n354\r\n"]
    reply.consume(4)
    assert scene.begun == [reply]
    assert reply.waiting_since is None
    assert reply.buffers(1) == [b"354\r\n"]
    assert (reply.bytes_left, reply.is_done) == (5, False)
    reply.consume(5)
    assert reply.is_done
    assert scene.begun == [reply]
    assert scene.queue.pop() is None


def test_equal_calculations_share_a_task(scene: Scene) -> None:
    """Replies with the same expression wait for one task, others for their own."""
    replies = [scene.started(), scene.started(), scene.started(b"mod 100 8")]
    tasks = [scene.take(), scene.take()]
    assert scene.queue.pop() is None
    assert {task.expression for task in tasks} == {EXPRESSION, b"mod 100 8"}
    for task in tasks:
        scene.calculations.finish(task, task.expression[-1:])
    assert [reply.buffers(9)[0][4:5] for reply in replies] == [b"7", b"7", b"8"]


def test_a_later_reply_needs_a_task_of_its_own(scene: Scene) -> None:
    """A value is not kept: a reply that comes later is calculated again."""
    scene.started()
    scene.calculations.finish(scene.take(), b"1")
    scene.started()
    assert scene.take().expression == EXPRESSION


def test_one_that_leaves(scene: Scene) -> None:
    """A reply that is stopped leaves the queue, and a value that comes later wakes others only."""
    gone, other = scene.started(), scene.started()
    gone.stop()
    task = scene.take()
    late = scene.started()
    assert scene.queue.pop() is None
    late.stop()
    scene.calculations.finish(task, b"1")
    assert (gone.is_ready, other.is_ready, late.is_ready) == (False, True, False)
    assert scene.ready == 1


def test_failed_calculation(scene: Scene) -> None:
    """If a task is given up, all replies that wait for it become errors."""
    replies = [scene.started(), scene.started()]
    task = scene.take()
    scene.queue.pop()
    scene.calculations.fail(task, "3 workers died over it", "ERR")
    assert scene.failures == ["ERR", "ERR"]
    for reply in replies:
        assert reply.buffers(9) == [b"-ERR 3 workers died over it\r\n"]
        reply.consume(29)
        assert reply.is_done
    assert scene.begun == []


def test_a_reply_that_would_wait_too_long(scene: Scene) -> None:
    """A refused reply is an error at once, and is not queued."""
    scene.refused = "overloaded"
    reply = scene.started()
    assert reply.buffers(9) == [b"-BUSY overloaded\r\n"]
    assert scene.failures == ["BUSY"]
    assert scene.queue.pop() is None


def test_a_ready_reply_does_not_fail(scene: Scene) -> None:
    """A failure that comes after the value is ignored."""
    reply = scene.started()
    scene.calculations.finish(scene.take(), b"1")
    reply.fail("too slow", "BUSY")
    assert reply.buffers(9) == [b"$1\r\n1\r\n"]
    assert scene.failures == []
