"""Replies with small values that workers calculate.

Replies that need the same value at the same time share one task.
"""

from collections.abc import Callable

from fibserver.core.fair_queue import FairQueue
from fibserver.engine.stream import Buffer, StreamOwner
from fibserver.memory.blocks import Action, Task
from fibserver.protocol.reply_encoding import Calculation, encode_error

__all__ = ["CalculatedReply", "Calculations"]


class Calculations:
    """The calculations that workers do now, with the replies that wait for each."""

    def __init__(self) -> None:
        self._waiting: dict[Task, dict[CalculatedReply, None]] = {}

    def join(self, reply: "CalculatedReply", task: Task) -> bool:
        """Let a reply wait for a task; return whether the task is new."""
        is_new = task not in self._waiting
        self._waiting.setdefault(task, {})[reply] = None
        return is_new

    def leave(self, reply: "CalculatedReply", task: Task) -> None:
        """Remove a reply from those that wait; the task continues."""
        self._waiting.get(task, {}).pop(reply, None)

    def finish(self, task: Task, value: bytes) -> None:
        """Pass a value to the replies that wait for it."""
        for reply in self._waiting.pop(task):
            reply.on_value(value)

    def fail(self, task: Task, message: str, code: str) -> None:
        """Fail the replies that wait for a value."""
        for reply in list(self._waiting.pop(task)):
            reply.fail(message, code)


class CalculatedReply:
    """A reply with a value that a worker calculates.

    Attributes:
        sends_header_early: Not used: the first byte depends on the value.
        started_at: When it was started; 0 before that.
        has_begun: Whether a byte of it was sent.
        is_broken: False: all bytes are there at once.
    """

    is_broken = False

    def __init__(
        self,
        calculation: Calculation,
        calculations: Calculations,
        queue: FairQueue,
        refusal: Callable[[float], str | None],
        owner: StreamOwner,
    ) -> None:
        """Create a reply; it requests nothing until it is started.

        Args:
            calculation: What to calculate, and how to encode the value.
            calculations: The calculations that workers do now.
            queue: Queue for workers.
            refusal: Called with the predicted cost, in seconds; returns an error message if the
                reply would wait too long, else None.
            owner: Notified of progress and failure.
        """
        self.sends_header_early = False
        self.started_at = 0.0
        self.has_begun = False
        self.cost_seconds = calculation.cost_seconds
        self._encode = calculation.encode
        self._task = Task(
            Action.CALCULATE,
            expression=calculation.expression,
            expression_seconds=calculation.cost_seconds,
        )
        self._calculations = calculations
        self._queue = queue
        self._refusal = refusal
        self._owner = owner
        self._bytes: bytes | None = None
        self._is_error = False

    # Requesting the value.

    def start(self, now: float) -> None:
        """Queue for a worker; fail if it would wait too long."""
        if self.started_at:
            return
        self.started_at = now
        reason = self._refusal(self.cost_seconds)
        if reason is not None:
            self.fail(reason, "BUSY")
        else:
            self._queue.add(self)

    def stop(self) -> None:
        """Leave the queue, and do not wait for the value."""
        self._queue.discard(self)
        self._calculations.leave(self, self._task)

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait; None once a byte was sent."""
        return None if self.has_begun else self.started_at

    def next_task(self) -> Task | None:
        """Return the task, or None if a worker has it, or has done it."""
        is_needed = self._bytes is None and self._calculations.join(self, self._task)
        return self._task if is_needed else None

    def on_value(self, value: bytes) -> None:
        """Encode the value, and schedule sending."""
        self._bytes = self._encode(value)
        self._owner.on_output_ready()

    def fail(self, message: str, code: str) -> None:
        """Become an error reply, unless bytes are ready."""
        if self._bytes is None:
            self.stop()
            self._bytes, self._is_error = encode_error(message, code), True
            self._owner.on_stream_failed(self, code)

    # Sending.

    @property
    def is_ready(self) -> bool:
        """Whether the reply can be sent."""
        return self._bytes is not None

    @property
    def is_done(self) -> bool:
        """Whether all bytes have been sent."""
        return self._bytes == b""

    @property
    def bytes_left(self) -> int:
        """Number of bytes that remain to be sent; 1 while it is unknown."""
        return 1 if self._bytes is None else len(self._bytes)

    def buffers(self, limit: int) -> list[Buffer]:
        """Return all bytes that remain, however few `limit` allows: the reply is small."""
        return [self._bytes] if self._bytes else []

    def consume(self, sent: int) -> None:
        """Remove the first `sent` bytes."""
        assert self._bytes is not None, "nothing was offered"
        self._bytes = self._bytes[sent:]
        if not self.has_begun and not self._is_error:
            self.has_begun = True
            self._owner.on_stream_started(self)
