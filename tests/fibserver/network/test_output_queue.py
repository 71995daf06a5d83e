"""Tests of a connection's output queue."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibserver.network.output_queue import (
    MAX_BUFFERS,
    MAX_PENDING_BYTES,
    MAX_PENDING_PIECES,
    MAX_SEND_BYTES,
    OutputQueue,
)
from tests.support.small_engine import BLOCK_BYTES, JSON, Machine, StreamClient

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Return a machine with memory for some elements."""
    machine = Machine(4 * BLOCK_BYTES)
    yield machine
    machine.close()


def send(output: OutputQueue, room: int = 10**9) -> bytes:
    """Send the next output to a socket that accepts at most `room` bytes."""
    data = b"".join(output.next_buffers())[:room]
    output.consume(len(data))
    return data


def send_all(output: OutputQueue, room: int = 10**9) -> bytes:
    """Send until the output is empty."""
    sent = b""
    while output:
        data = send(output, room)
        assert data, "the output has nothing to send"
        sent += data
    return sent


def test_new_output_is_empty() -> None:
    """A new output is empty."""
    output = OutputQueue()
    assert not output
    assert len(output) == output.pending_bytes == 0
    assert output.next_buffers() == []
    assert output.stream_at_head is None
    assert not output.is_full


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=150),
    st.lists(st.integers(1, 400), min_size=1),
)
def test_bytes_keep_their_order(pieces: list[bytes], rooms: list[int]) -> None:
    """All bytes are sent once and in order, whatever the socket accepts per call."""
    output = OutputQueue()
    for piece in pieces:
        output.push(piece)
    whole, sent = b"".join(pieces), b""
    for number in range(len(whole)):
        if not output:
            break
        assert output.pending_bytes == len(whole) - len(sent)
        sent += send(output, rooms[number % len(rooms)])
    assert sent == whole
    assert output.pending_bytes == len(output) == 0


def test_few_buffers_at_a_time() -> None:
    """The number of buffers per call is limited."""
    output = OutputQueue()
    for _ in range(MAX_BUFFERS + 1):
        output.push(b"+OK\r\n")
    assert len(output.next_buffers()) == MAX_BUFFERS
    assert len(output) == MAX_BUFFERS + 1, "what is offered stays until it is dropped"
    assert send_all(output) == b"+OK\r\n" * (MAX_BUFFERS + 1)


def test_nothing_dropped() -> None:
    """Dropping 0 bytes changes nothing."""
    output = OutputQueue()
    output.push(b"+OK\r\n")
    output.consume(0)
    assert output.next_buffers() == [b"+OK\r\n"]


def test_full_by_number() -> None:
    """An output is full at a maximum number of pieces, until one is sent."""
    output = OutputQueue()
    for _ in range(MAX_PENDING_PIECES - 1):
        output.push(b"1")
    assert not output.is_full
    output.push(b"1")
    assert output.is_full
    output.consume(1)
    assert not output.is_full


def test_full_by_size() -> None:
    """An output is full at a maximum of bytes, until some are sent."""
    output = OutputQueue()
    output.push(bytes(MAX_PENDING_BYTES - 1))
    assert not output.is_full
    output.push(b"1")
    assert output.is_full
    output.consume(1)
    assert not output.is_full


def test_streams_count_as_pieces_only(machine: Machine) -> None:
    """A slice stream counts as one piece and no bytes, as its elements are in shared memory."""
    output = OutputQueue()
    for _ in range(MAX_PENDING_PIECES - 1):
        output.push_stream(StreamClient(machine, JSON, 0, 1000).answer)
    assert output.pending_bytes == 0
    assert not output.is_full
    output.push_stream(StreamClient(machine, JSON, 0, 1000).answer)
    assert output.is_full
    output.clear()


def test_stream_holds_back_later_pieces(machine: Machine) -> None:
    """A slice stream without ready bytes holds back later pieces, but not earlier ones."""
    output, client = OutputQueue(), StreamClient(machine, JSON, 0, 200)
    output.push(b"before")
    output.push_stream(client.answer)
    output.push(b"after")
    assert output.stream_at_head is None
    assert send(output) == b"before"
    assert output.stream_at_head is client.answer
    assert output.next_buffers() == []
    client.start()
    for task in machine.take_all():
        machine.complete(task)
    assert send_all(output, room=1000) == client.expected + b"after"
    assert output.stream_at_head is None


def test_streams_are_sent_one_after_another(machine: Machine) -> None:
    """Slice streams are sent one after another; each releases the array when it is done."""
    machine.grow(JSON, BLOCK_BYTES)
    output = OutputQueue()
    clients = [StreamClient(machine, JSON, start, start + 20) for start in (0, 5, 50)]
    for client in clients:
        output.push_stream(client.answer)
    array = machine.arrays[JSON]
    while array.oldest_use is not None:
        array.evict_oldest()
    assert array.growth.frontier >= 70
    assert send_all(output) == b"".join(client.expected for client in clients)
    while array.oldest_use is not None:
        array.evict_oldest()
    assert array.growth.frontier == 0


def test_error_of_failed_stream_is_sent(machine: Machine) -> None:
    """The error of a failed slice stream is sent in its place."""
    output, client = OutputQueue(), StreamClient(machine, JSON, 0, 200)
    output.push_stream(client.answer)
    output.push(b"+PONG\r\n")
    client.start()
    client.answer.fail("no room", "NOSPACE")
    assert send_all(output, room=5) == b"-NOSPACE no room\r\n+PONG\r\n"


def test_stream_is_offered_in_parts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most MAX_SEND_BYTES of a slice stream are offered at once, besides its header."""
    monkeypatch.setattr("fibserver.network.output_queue.MAX_SEND_BYTES", 100)
    machine.grow(JSON, BLOCK_BYTES)
    output, client = OutputQueue(), StreamClient(machine, JSON, 0, 200)
    output.push_stream(client.answer)
    assert len(b"".join(output.next_buffers())) == len(b"<") + 100
    assert send_all(output) == client.expected


def test_clear_stops_streams(machine: Machine) -> None:
    """Clearing an output stops its slice streams, which release all they held."""
    output = OutputQueue()
    output.push(b"before")
    clients = [StreamClient(machine, JSON, start, start + 200) for start in (0, 1000)]
    for client in clients:
        output.push_stream(client.answer)
        client.start()
    tasks = machine.take_all()
    output.clear()
    assert not output
    assert output.pending_bytes == 0
    assert machine.queue.pop() is None
    for task in tasks:
        machine.complete(task)
    assert machine.far_blocks.used_slots == 0
    assert machine.arrays[JSON].oldest_use is not None


def test_a_large_piece_is_offered_in_parts() -> None:
    """A large piece is offered in parts of at most MAX_SEND_BYTES."""
    output = OutputQueue()
    output.push(b"a" * 10)
    output.push(b"b" * (2 * MAX_SEND_BYTES))
    assert sum(map(len, output.next_buffers())) == MAX_SEND_BYTES
    assert send_all(output) == b"a" * 10 + b"b" * (2 * MAX_SEND_BYTES)


def test_a_piece_is_held_until_all_of_it_is_sent() -> None:
    """A piece counts as held memory until all of it is sent; slice streams never do."""
    output = OutputQueue()
    output.push(b"a" * 10)
    output.push(b"b" * 20)
    for room, held in ((4, 30), (5, 30), (1, 20), (15, 20), (5, 0)):
        send(output, room)
        assert output.held_bytes == held
    output.push(b"a" * 10)
    send(output, 4)
    output.clear()
    assert output.held_bytes == 0
