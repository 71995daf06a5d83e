"""An engine in small: a real arena with small blocks, and tests that play the workers.

Blocks of 16 KiB make every case of growth, eviction and streaming come up within the first
thousand or two of elements, which are computed in no time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fibcommon.costs import first_element_seconds
from fibcommon.formats import FORMATS, Format
from fibserver.core import fair_queue
from fibserver.core.fair_queue import FairQueue
from fibserver.engine import slice_stream as answer
from fibserver.engine.slice_stream import SliceStream
from fibserver.memory import blocks, growth, layout
from fibserver.memory import transient_blocks as scratch
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Action, Block, Task
from fibserver.memory.layout import ArenaLayout
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.memory.transient_blocks import TransientBlocks
from fibserver.protocol.reply_encoding import Slice
from tests.numbers import encoded

BLOCK_BYTES = 16 * 1024
FIRST_BLOCK_BYTES = 4 * 1024
MAX_GAP_BYTES = 2 * BLOCK_BYTES
SMALL_BYTES = 4 * 1024
DEAR_INDEX = 1_500
MAX_INDEX = 2_000
"""The largest element that an answer may hold; some 400 KB come before it in every format."""

PAGE_BYTES = 4096

ELEMENTS = {
    FORMATS[name]: encoded(name, 0, MAX_INDEX + 1) for name in ("array", "json", "text", "binary")
}
JSON, TEXT, ARRAY = FORMATS["json"], FORMATS["text"], FORMATS["array"]


@contextmanager
def small_blocks() -> Iterator[None]:
    """Have blocks small, and far elements near."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (answer, blocks, growth, layout):
            patch.setattr(module, "BLOCK_BYTES", BLOCK_BYTES)
        for module in (blocks, fair_queue):
            patch.setattr(module, "DEAR_SECONDS", first_element_seconds(JSON, DEAR_INDEX - 1))
        patch.setattr(growth, "FIRST_BLOCK_BYTES", FIRST_BLOCK_BYTES)
        patch.setattr(answer, "MAX_GAP_BYTES", MAX_GAP_BYTES)
        patch.setattr(scratch, "SMALL_BYTES", SMALL_BYTES)
        yield


class FakeClock:
    """A clock that a test sets.

    Attributes:
        now: what it shows.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """An arena and all that hands out its blocks, without processes.

    Attributes:
        dropped: the blocks that gave way, in order.
        refused: why answers must not wait, None for those that may.
        asked_costs: the costs of the answers that asked whether they may wait.
    """

    def __init__(self, memory_limit: int, slots: int = 8) -> None:
        self.clock = FakeClock()
        self.arena = Arena(ArenaLayout(memory_limit, MAX_INDEX, slots))
        self.dropped: list[Block] = []
        self.queue = FairQueue(self.clock)
        self.arrays = SharedArrays(self.arena, memory_limit, self.clock, self.dropped.append)
        self.scratch = TransientBlocks(self.arena, self.clock)
        self.refused: str | None = None
        self.asked_costs: list[float] = []

    def refusal(self, cost_seconds: float) -> str | None:
        """Return why an answer must not wait."""
        self.asked_costs.append(cost_seconds)
        return self.refused

    def complete(self, task: Task) -> None:
        """Do what a task says, and tell of it, as worker and engine do."""
        self.arena.fill(task.block)
        if task.block.is_resident:
            self.arrays.block_finished(task.block)
        else:
            self.scratch.block_finished(task.block)

    def fail(self, task: Task, message: str = "no room", code: str = "NOSPACE") -> None:
        """Tell that a task cannot be done."""
        if task.block.is_resident:
            self.arrays.block_failed(task.block, message, code)
        else:
            self.scratch.block_failed(task.block, message, code)

    def take_all(self) -> list[Task]:
        """Take every task that is to be had at present."""
        return list(iter(self.queue.take, None))

    def grow(self, format: Format, size_bytes: int) -> None:
        """Fill blocks of an array until it takes at least so many bytes, displacing nothing."""
        array = self.arrays[format]
        while array.growth.frontier_bytes < size_bytes:
            task = self.arrays.next_task(array, MAX_INDEX, may_displace=False)
            assert task is not None, "the test asks for more than there is room for"
            assert task.action is Action.FILL
            self.complete(task)

    def content(self, format: Format) -> bytes:
        """The published bytes of an array."""
        array = self.arrays[format]
        return bytes(array.bytes_between(0, array.growth.published_bytes))

    def index(self, format: Format) -> list[int]:
        """The index entries of the published elements: where each ends."""
        array = self.arrays[format]
        return [array.offset(n) for n in range(1, array.growth.published + 1)]

    @property
    def resident_bytes(self) -> int:
        """How much memory the segment takes."""
        return os.fstat(self.arena.fd).st_blocks * 512

    def close(self) -> None:
        """Give the memory back."""
        self.arrays.close()
        self.arena.close()


class Client:
    """A client with one request, and its connection: it sends when it has a reason to.

    Attributes:
        answer: the answer under way.
        received: what has been sent of it.
        expected: what should be.
        is_woken: whether the answer has said that there is something to send.
        is_blocked: whether there was more to send when it last sent.
        is_done: whether all has been sent.
        times_begun: how often it was told of a first byte.
        failures: the codes it was told of.
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
            slice, machine.arrays, machine.scratch, machine.queue, machine.refusal, self
        )

    def on_answer_ready(self) -> None:
        """Be woken."""
        self.is_woken = True

    def on_answer_begun(self, answer: SliceStream) -> None:
        """Count it."""
        assert answer is self.answer
        self.times_begun += 1

    def on_answer_failed(self, answer: SliceStream, code: str) -> None:
        """Remember why."""
        assert answer is self.answer
        self.failures.append(code)
        self.is_woken = True

    def start(self) -> None:
        """Come to be the next to send."""
        self.answer.start(self._machine.clock.now)

    def send(self, room: int = 10**9, limit: int = 10**9) -> int:
        """Send what there is, as a connection does whose socket has room for so many bytes."""
        self.is_woken = False
        self.start()
        data = b"".join(self.answer.buffers(limit))[:room]
        if data:
            self.received += data
            self.answer.drop(len(data))
            if self.answer.is_done:
                self.answer.stop()
                self.is_done = True
                return len(data)
        self.start()
        self.is_blocked = self.answer.is_ready
        return len(data)
