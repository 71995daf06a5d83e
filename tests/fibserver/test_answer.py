"""Answers in the making, and the arrays that they wait for; no process is involved."""

import os
from collections.abc import Iterator

import pytest

from fibclient.formats import FORMATS
from fibserver.answer import Answer
from fibserver.arena import Arena
from fibserver.fair_queue import FairQueue
from fibserver.growth import BLOCK_BYTES
from fibserver.layout import ArenaLayout
from fibserver.replies import CommandError, Slice
from fibserver.shared_arrays import SharedArrays
from tests.numbers import expected

JSON = FORMATS["json"]
LIMIT = 4 * BLOCK_BYTES


@pytest.fixture
def arena() -> Iterator[Arena]:
    """A real arena."""
    arena = Arena(ArenaLayout(LIMIT))
    yield arena
    arena.close()


@pytest.fixture
def arrays(arena: Arena) -> Iterator[SharedArrays]:
    """Its arrays, all empty."""
    arrays = SharedArrays(arena, LIMIT)
    yield arrays
    arrays.close()


def answer_to(arrays: SharedArrays, queue: FairQueue, stop: int, changes: list[None]) -> Answer:
    """Return an answer that holds the first numbers as json."""
    slice = Slice(b"<", JSON, 0, stop, JSON.slice_size(0, stop), b">")
    return Answer(slice, arrays[JSON], queue, lambda: changes.append(None))


def fill_next(arena: Arena, arrays: SharedArrays, queue: FairQueue) -> None:
    """Fill the next block, as a worker does."""
    block = queue.take()
    assert block is not None
    arena.fill(block)
    arrays.block_finished(block)


def sent(answer: Answer) -> tuple[bytes, bool]:
    """Take what an answer can send."""
    buffers, is_whole = answer.take()
    return b"".join(buffers), is_whole


def test_an_answer_grows(arena: Arena, arrays: SharedArrays) -> None:
    """An answer is sent as its blocks are published, with its header first and trailer last."""
    queue, changes = FairQueue(), list[None]()
    answer = answer_to(arrays, queue, 2000, changes)
    answer.start()
    received, is_whole = sent(answer)
    assert (received, is_whole) == (b"", False)
    while not is_whole:
        fill_next(arena, arrays, queue)
        assert answer.is_ready
        more, is_whole = sent(answer)
        received += more
    assert received == b"<" + expected("json", 0, 2000) + b">"
    assert len(changes) > 1
    answer.stop()
    assert queue.take() is None


def test_a_failed_answer_asks_for_nothing_more(arrays: SharedArrays) -> None:
    """When a block fails, the answer becomes an error and leaves the queue."""
    queue, changes = FairQueue(), list[None]()
    answer = answer_to(arrays, queue, 5000, changes)
    answer.start()
    block = queue.take()
    assert block is not None
    arrays.block_failed(block, "no room", "NOSPACE")
    assert queue.take() is None
    assert sent(answer) == (b"-NOSPACE no room\r\n", True)
    assert len(changes) == 1


def test_an_answer_that_began_breaks(arena: Arena, arrays: SharedArrays) -> None:
    """After its first byte was sent an answer cannot become an error: it is broken."""
    queue = FairQueue()
    answer = answer_to(arrays, queue, 5000, [])
    answer.start()
    fill_next(arena, arrays, queue)
    assert sent(answer)[0].startswith(b"<")
    block = queue.take()
    assert block is not None
    arrays.block_failed(block, "no room", "NOSPACE")
    assert answer.is_broken
    assert queue.take() is None


def test_memory_claimed_by_an_answer_is_free_without_it(arrays: SharedArrays) -> None:
    """An answer claims the memory that it waits for, and no longer than it waits."""
    stop = JSON.stop_within(0, LIMIT - BLOCK_BYTES)
    text = FORMATS["text"]
    arrays.check_growth(JSON, stop)
    answer = answer_to(arrays, FairQueue(), stop, [])
    arrays.check_growth(JSON, stop)
    with pytest.raises(CommandError, match=f"memory_limit is {LIMIT}") as caught:
        arrays.check_growth(text, text.stop_within(0, 2 * BLOCK_BYTES))
    assert caught.value.code == "LIMIT"
    answer.stop()
    arrays.check_growth(text, text.stop_within(0, 2 * BLOCK_BYTES))


def test_an_empty_array_takes_no_memory_to_read(arena: Arena, arrays: SharedArrays) -> None:
    """Asking where element 0 is touches no page: where memory is short that would kill."""
    blocks = os.fstat(arena.fd).st_blocks
    for array in arrays:
        assert array.offset(0) == 0
        assert array.slice_size(0, 10) == array.format.slice_size(0, 10)
    assert os.fstat(arena.fd).st_blocks == blocks
