"""Engine with a real arena, small blocks and no processes: tests act as the workers.

With blocks of 16 KiB the first two thousand elements, which are quick to compute, cover every case
of growth, eviction and streaming.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fibcommon.costs import first_element_seconds
from fibcommon.formats import FORMATS, Format
from fibserver.core import fair_queue
from fibserver.core.fair_queue import FairQueue
from fibserver.engine import slice_stream
from fibserver.engine.slice_stream import SliceStream
from fibserver.engine.stream import Stream
from fibserver.memory import block_sequence as growth
from fibserver.memory import blocks, layout
from fibserver.memory import far_blocks as far_blocks
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Action, Task
from fibserver.memory.far_blocks import FarBlocks
from fibserver.memory.layout import ArenaLayout
from fibserver.memory.memory_limit import MemoryLimit
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.protocol.reply_encoding import Slice
from tests.support.expected import encoded

BLOCK_BYTES = 16 * 1024
FIRST_BLOCK_BYTES = 4 * 1024
MAX_GAP_BYTES = 2 * BLOCK_BYTES
SMALL_BYTES = 4 * 1024
EXPENSIVE_INDEX = 1_500
MAX_INDEX = 2_000
"""Largest index; in every format about 400 KB come before it."""

PAGE_BYTES = 4096

ELEMENTS = {
    FORMATS[name]: encoded(name, 0, MAX_INDEX + 1) for name in ("array", "json", "text", "binary")
}
JSON, TEXT, ARRAY = FORMATS["json"], FORMATS["text"], FORMATS["array"]


@contextmanager
def small_blocks() -> Iterator[None]:
    """Use small blocks and lower limits within the context."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (slice_stream, blocks, growth, layout):
            patch.setattr(module, "BLOCK_BYTES", BLOCK_BYTES)
        for module in (blocks, fair_queue):
            patch.setattr(
                module, "EXPENSIVE_SECONDS", first_element_seconds(JSON, EXPENSIVE_INDEX - 1)
            )
        patch.setattr(growth, "FIRST_BLOCK_BYTES", FIRST_BLOCK_BYTES)
        patch.setattr(slice_stream, "MAX_GAP_BYTES", MAX_GAP_BYTES)
        patch.setattr(far_blocks, "SMALL_BYTES", SMALL_BYTES)
        yield


class FakeClock:
    """Clock that a test sets.

    Attributes:
        now: Current time in seconds.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """Arena with arrays, far blocks and queue, without processes.

    Attributes:
        refused: Reason why streams must not wait, None if they may.
        asked_costs: Predicted cost of each call of `rejection`.
    """

    def __init__(
        self, memory_limit: int, slots: int = 8, far_blocks_type: type[FarBlocks] = FarBlocks
    ) -> None:
        self.clock = FakeClock()
        self.arena = Arena(ArenaLayout(memory_limit, MAX_INDEX, slots))
        self.queue = FairQueue(self.clock)
        self.memory = MemoryLimit(memory_limit)
        self.arrays = SharedArrays(self.arena, self.memory, self.clock)
        self.far_blocks = far_blocks_type(self.arena, slots, self.memory, self.clock)
        self.refused: str | None = None
        self.asked_costs: list[float] = []

    def rejection(self, cost_seconds: float) -> str | None:
        """Return the reason why a stream must not wait, None if it may."""
        self.asked_costs.append(cost_seconds)
        return self.refused

    def complete(self, task: Task) -> None:
        """Fill the block of a task and report it, as worker and engine do."""
        self.arena.fill(task.block)
        if task.block.is_resident:
            self.arrays[task.block.format].block_finished(task.block)
        else:
            self.far_blocks.block_finished(task.block)

    def fail(self, task: Task, message: str = "no room", code: str = "NOSPACE") -> None:
        """Report a task as failed."""
        if task.block.is_resident:
            self.arrays[task.block.format].block_failed(task.block, message, code)
        else:
            self.far_blocks.block_failed(task.block, message, code)

    def take_all(self) -> list[Task]:
        """Take all tasks that are available now."""
        return list(iter(self.queue.pop, None))

    def grow(self, format: Format, size_bytes: int) -> None:
        """Fill blocks of an array up to `size_bytes` or more."""
        array = self.arrays[format]
        while array.growth.frontier_bytes < size_bytes:
            block = array.next_block(MAX_INDEX)
            assert block is not None, "the array does not fit"
            self.complete(Task(Action.FILL, block))

    def content(self, format: Format) -> bytes:
        """Return the published bytes of an array."""
        array = self.arrays[format]
        return bytes(array.bytes_between(0, array.growth.published_bytes))

    def index(self, format: Format) -> list[int]:
        """Return the end offsets of the published elements, as the index has them."""
        array = self.arrays[format]
        return [array.offset(n) for n in range(1, array.growth.published + 1)]

    @property
    def resident_bytes(self) -> int:
        """Memory of the shared segment."""
        return os.fstat(self.arena.fd).st_blocks * 512

    def close(self) -> None:
        """Release the memory."""
        self.arrays.close()
        self.arena.close()


class StreamClient:
    """Connection with one slice stream, from which tests send.

    Attributes:
        answer: Stream of the reply.
        received: Bytes sent so far.
        expected: Bytes of the complete reply.
        is_woken: Whether the stream has reported bytes to send.
        is_blocked: Whether bytes were left after the last `send`.
        is_done: Whether the reply is complete.
        times_begun: Number of calls of `on_stream_started`.
        failures: Error codes passed to `on_stream_failed`.
    """

    def __init__(
        self, machine: Machine, format: Format, start: int, stop: int, *, trailer: bytes = b">"
    ) -> None:
        self._machine = machine
        size = format.slice_size(start, stop)
        elements = b"".join(ELEMENTS[format][start:stop])[:size]
        self.expected = b"<%b%b" % (elements, trailer)
        self.received = b""
        self.is_woken = True
        self.is_blocked = False
        self.is_done = False
        self.times_begun = 0
        self.failures: list[str] = []
        slice = Slice(b"<", format, start, stop, size, trailer)
        self.answer = SliceStream(
            slice, machine.arrays, machine.far_blocks, machine.queue, machine.rejection, self
        )

    def on_output_ready(self) -> None:
        """Record that there are bytes to send."""
        self.is_woken = True

    def on_stream_started(self, answer: Stream) -> None:
        """Count the call."""
        assert answer is self.answer
        self.times_begun += 1

    def on_stream_failed(self, answer: Stream, code: str) -> None:
        """Record the error code."""
        assert answer is self.answer
        self.failures.append(code)
        self.is_woken = True

    def start(self) -> None:
        """Start the stream, as its connection does when it is next."""
        self.answer.start(self._machine.clock.now)

    def send(self, room: int = 10**9, limit: int = 10**9) -> int:
        """Send the available bytes, up to `room`, and return their number."""
        self.is_woken = False
        self.start()
        data = b"".join(self.answer.buffers(limit))[:room]
        if data:
            self.received += data
            self.answer.consume(len(data))
            if self.answer.is_done:
                self.answer.stop()
                self.is_done = True
                return len(data)
        self.start()
        self.is_blocked = self.answer.is_ready
        return len(data)
