"""Slice streams: the blocks they request, the bytes they send, and their failures."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fibcommon.costs import first_element_seconds
from fibcommon.formats import Format
from fibserver.memory.blocks import Task
from fibserver.memory.far_block import Claimant, FarBlock, Key
from fibserver.memory.far_blocks import MAX_CLAIMS, STALLED_SECONDS, FarBlocks
from tests.support.small_engine import (
    ARRAY,
    BLOCK_BYTES,
    ELEMENTS,
    EXPENSIVE_INDEX,
    FIRST_BLOCK_BYTES,
    JSON,
    MAX_GAP_BYTES,
    MAX_INDEX,
    TEXT,
    Machine,
    StreamClient,
)

pytestmark = pytest.mark.usefixtures("small")

ALL = MAX_INDEX + 1
MEMORY_LIMIT = 6 * BLOCK_BYTES
"""Room for some hundreds of elements."""


@pytest.fixture
def make_machine() -> Iterator[Callable[..., Machine]]:
    """Create machines and close them after the test; by default their memory is limited."""
    with ExitStack() as stack:

        def make(
            memory_limit: int = MEMORY_LIMIT,
            slots: int = 8,
            far_blocks_type: type[FarBlocks] = FarBlocks,
        ) -> Machine:
            machine = Machine(memory_limit, slots, far_blocks_type)
            stack.callback(machine.close)
            return machine

        yield make


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """A machine whose arrays have no room for all elements."""
    return make_machine()


def take(machine: Machine) -> Task:
    """Take the next task, which must exist."""
    task = machine.queue.pop()
    assert task is not None
    return task


def run_once(machine: Machine, *clients: StreamClient) -> bool:
    """Send all ready bytes and complete all tasks; return whether there were any."""
    machine.far_blocks.wake_next_waiter()
    sent = 0
    for client in clients:
        if (client.is_woken or client.is_blocked) and not client.is_done:
            sent += client.send()
    tasks = machine.take_all()
    for task in tasks:
        machine.complete(task)
    return bool(sent or tasks) or any(client.is_woken for client in clients)


def run(machine: Machine, *clients: StreamClient) -> None:
    """Repeat `run_once` until nothing is left to do."""
    while run_once(machine, *clients):
        pass


def assert_answered(*clients: StreamClient) -> None:
    """Assert that each client has received exactly its reply."""
    for client in clients:
        assert client.received == client.expected
        assert client.is_done
        assert client.times_begun == 1
        assert client.failures == []


def assert_at_rest(machine: Machine) -> None:
    """Assert that nothing is claimed, queued or read."""
    assert machine.far_blocks.used_slots == 0
    assert not machine.far_blocks.is_wanted
    assert machine.queue.pop() is None
    for array in machine.arrays:
        assert array.growth.has_none_in_flight
        assert (array.oldest_use is not None) == (array.growth.frontier > 0)


# The array and far blocks.


@pytest.mark.parametrize("format", ELEMENTS, ids=lambda format: format.name)
@pytest.mark.parametrize("memory_limit", [0, FIRST_BLOCK_BYTES, MEMORY_LIMIT, 100 * BLOCK_BYTES])
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, ALL), (1, 2), (700, 900), (EXPENSIVE_INDEX, ALL), (MAX_INDEX, ALL)],
)
def test_every_byte(
    make_machine: Callable[..., Machine], format: Format, memory_limit: int, start: int, stop: int
) -> None:
    """Whatever the memory limit, a stream sends its header, elements and trailer."""
    machine = make_machine(memory_limit)
    for trailer in (b">", b""):
        client = StreamClient(machine, format, start, stop, trailer=trailer)
        run(machine, client)
        assert_answered(client)
        assert machine.memory.used_bytes <= memory_limit
    assert_at_rest(machine)


def test_an_answer_waits_for_its_turn(machine: Machine) -> None:
    """A stream requests no blocks before it is started, and records when it was."""
    client = StreamClient(machine, JSON, 0, 500)
    assert machine.queue.pop() is None
    assert client.answer.started_at == 0
    machine.clock.now = 5.0
    client.start()
    machine.clock.now = 6.0
    client.start()
    assert client.answer.started_at == 5.0
    assert take(machine).block.start == 0


def test_published_elements_need_no_worker(machine: Machine) -> None:
    """Published elements are sent at once, without any task."""
    run(machine, StreamClient(machine, JSON, 0, 300))
    client = StreamClient(machine, JSON, 100, 200)
    assert client.answer.is_ready
    client.send()
    assert_answered(client)
    assert machine.queue.pop() is None


def test_an_answer_is_sent_as_it_grows(machine: Machine) -> None:
    """Each block is sent as soon as it is filled, the header together with the first."""
    client = StreamClient(machine, JSON, 0, 250)
    assert client.send() == 0
    first = take(machine)
    client.is_woken = False
    machine.complete(first)
    assert client.is_woken
    assert client.send() == 1 + first.block.size
    assert client.received == client.expected[: len(client.received)]
    assert not client.is_blocked
    run(machine, client)
    assert_answered(client)


def test_blocks_out_of_order_are_sent_in_order(machine: Machine) -> None:
    """A block that is filled before its predecessor is not sent and wakes no client."""
    client = StreamClient(machine, JSON, 0, 600)
    client.send()
    first, second = take(machine), take(machine)
    machine.complete(second)
    assert not client.is_woken
    assert not client.answer.is_ready
    machine.complete(first)
    assert client.is_woken
    assert client.send() == 1 + first.block.size + second.block.size


@pytest.mark.parametrize("start", [0, 3, 600, 1000])
def test_a_byte_at_a_time(make_machine: Callable[..., Machine], start: int) -> None:
    """A socket that accepts single bytes gets the same reply from arrays and from slots."""
    machine = make_machine(BLOCK_BYTES // 2)
    client = StreamClient(machine, JSON, start, start + 90)
    while not client.is_done:
        client.send(room=1)
        for task in machine.take_all():
            machine.complete(task)
    assert_answered(client)
    assert_at_rest(machine)


@pytest.mark.parametrize("start", [0, 1000])
def test_limit_of_one_send(machine: Machine, start: int) -> None:
    """`buffers` returns about `limit` bytes at most, header and trailer aside."""
    run(machine, StreamClient(machine, JSON, 0, 300))
    client = StreamClient(machine, JSON, start, start + 100)
    while not client.is_done:
        run_once(machine)
        assert client.send(limit=1000) <= 1000 + 2
    assert_answered(client)


def test_streamed_bytes_are_counted(machine: Machine) -> None:
    """Bytes sent from far blocks count as streamed, those from the array do not."""
    client = StreamClient(machine, TEXT, 0, ALL)
    run(machine, client)
    array = machine.arrays[TEXT]
    assert 0 < array.growth.published < ALL
    assert array.streamed_bytes == TEXT.offset(ALL) - array.growth.published_bytes
    assert machine.arrays[JSON].streamed_bytes == 0


def test_a_far_answer_leaves_the_array_alone(machine: Machine) -> None:
    """A stream that starts far beyond the end of the array uses only far blocks."""
    start = JSON.stop_within(0, MAX_GAP_BYTES) + 1
    client = StreamClient(machine, JSON, start, start + 50)
    assert client.answer.array_stop == 0
    run(machine, client)
    assert_answered(client)
    assert machine.arrays[JSON].growth.frontier == 0


def test_a_near_answer_makes_the_array_grow(machine: Machine) -> None:
    """A stream that starts shortly after the end of the array makes the array fill the gap."""
    start = JSON.stop_within(0, MAX_GAP_BYTES)
    client = StreamClient(machine, JSON, start, start + 10)
    assert client.answer.array_stop == start + 10
    run(machine, client)
    assert_answered(client)
    assert machine.arrays[JSON].growth.published >= start + 10
    assert machine.far_blocks.used_slots == 0


def test_a_small_gap_where_there_is_no_memory(make_machine: Callable[..., Machine]) -> None:
    """If memory runs out within the gap, the stream uses only far blocks."""
    machine = make_machine(FIRST_BLOCK_BYTES)
    client = StreamClient(machine, JSON, 300, 400)
    assert client.answer.array_stop == 400
    run(machine, client)
    assert_answered(client)
    assert client.answer.array_stop == 0


def test_stream_adopts_elements_of_others(machine: Machine) -> None:
    """A stream reads from the array as far as another stream has made it grow."""
    start = JSON.stop_within(0, MAX_GAP_BYTES) + 1
    client = StreamClient(machine, JSON, start, ALL)
    other = StreamClient(machine, JSON, 0, start + 30)
    run(machine, other)
    run(machine, client)
    assert_answered(client, other)
    array = machine.arrays[JSON]
    assert start < array.growth.published < ALL
    assert array.streamed_bytes == (
        JSON.offset(ALL) - array.growth.published_bytes - JSON.separator_size
    )


def test_adoption_of_all(machine: Machine) -> None:
    """A far stream needs no worker if all its elements have been published meanwhile."""
    start = JSON.stop_within(0, MAX_GAP_BYTES) + 1
    client = StreamClient(machine, JSON, start, start + 20)
    run(machine, StreamClient(machine, JSON, 0, start + 20))
    run(machine, client)
    assert_answered(client)
    assert machine.arrays[JSON].streamed_bytes == 0


def test_adoption_half_way(make_machine: Callable[..., Machine]) -> None:
    """A stream of far blocks continues from the array once the array has grown past it."""
    machine = make_machine(100 * BLOCK_BYTES)
    start = JSON.stop_within(0, MAX_GAP_BYTES) + 1
    client = StreamClient(machine, JSON, start, ALL)
    client.send()
    machine.complete(take(machine))
    client.send(room=1000)
    run(machine, StreamClient(machine, JSON, 0, ALL))
    streamed = machine.arrays[JSON].streamed_bytes
    client.send()
    assert machine.far_blocks.used_slots == MAX_CLAIMS - 1
    assert machine.take_all() == []
    assert machine.far_blocks.used_slots == 0, "its claims are no longer needed"
    run(machine, client)
    assert_answered(client)
    assert machine.arrays[JSON].streamed_bytes - streamed <= MAX_CLAIMS * BLOCK_BYTES
    assert_at_rest(machine)


def test_the_array_may_go_when_its_part_has_been_sent(machine: Machine) -> None:
    """Once the array's part is sent, the array may shrink and does not grow again."""
    client = StreamClient(machine, JSON, 0, ALL)
    array = machine.arrays[JSON]
    while array.streamed_bytes == 0:
        run_once(machine)
        client.send(room=2000)
    assert array.oldest_use is not None
    other = StreamClient(machine, TEXT, 0, 700)
    run(machine, other)
    assert machine.memory.evictions
    frontier = array.growth.frontier
    run(machine, client)
    assert_answered(client, other)
    assert array.growth.frontier == frontier


def test_stream_touches_its_last_block(machine: Machine) -> None:
    """A stream counts as a use of its last block: other arrays are evicted first."""
    for first, last in ((JSON, TEXT), (TEXT, JSON)):
        for format in (first, last):
            machine.clock.now += 1
            run(machine, StreamClient(machine, format, 0, 400))
        machine.clock.now += 1
        run(machine, StreamClient(machine, first, 0, 400))
        tail, kept = (machine.arrays[format].growth.tail for format in (last, first))
        evictions = machine.memory.evictions
        while machine.memory.evictions == evictions:
            run(
                machine, StreamClient(machine, ARRAY, 0, machine.arrays[ARRAY].growth.frontier + 1)
            )
        assert machine.arrays[last].growth.tail != tail
        assert machine.arrays[first].growth.tail == kept


def test_unsent_blocks_are_not_evicted(machine: Machine) -> None:
    """Blocks that a stream has yet to send are not evicted for another stream."""
    client = StreamClient(machine, JSON, 0, 300)
    for _ in range(20):
        run_once(machine)
        client.start()
    assert machine.arrays[JSON].growth.published >= 300
    run(machine, StreamClient(machine, TEXT, 0, ALL))
    assert machine.arrays[JSON].growth.published >= 300
    run(machine, client)
    assert_answered(client)


def test_cost(make_machine: Callable[..., Machine]) -> None:
    """The cost of a stream is that of its next block: in the array, after it, or far beyond."""
    machine = make_machine(100 * BLOCK_BYTES)
    near, far = (
        StreamClient(machine, JSON, 0, ALL),
        StreamClient(machine, JSON, EXPENSIVE_INDEX, ALL),
    )
    assert near.answer.cost_seconds == first_element_seconds(JSON, 0)
    assert far.answer.cost_seconds == first_element_seconds(JSON, EXPENSIVE_INDEX)
    near.start()
    while not machine.queue.expensive_sources:
        machine.complete(take(machine))
    frontier = machine.arrays[JSON].growth.frontier
    assert frontier >= EXPENSIVE_INDEX
    assert near.answer.cost_seconds == first_element_seconds(JSON, frontier)


def test_an_answer_that_would_wait_too_long(machine: Machine) -> None:
    """A refused stream fails at once with BUSY, queues nothing, and calls `refusal` once."""
    machine.refused = "overloaded"
    client = StreamClient(machine, JSON, EXPENSIVE_INDEX, ALL)
    assert machine.asked_costs == [], "called before the start"
    client.send(room=10)
    client.send()
    assert client.received == b"-BUSY overloaded\r\n"
    assert client.failures == ["BUSY"]
    assert machine.asked_costs == [first_element_seconds(JSON, EXPENSIVE_INDEX)]
    assert_at_rest(machine)


def test_resident_stream_is_never_refused(machine: Machine) -> None:
    """A stream that needs no worker does not call `refusal`."""
    run(machine, StreamClient(machine, JSON, 0, 300))
    machine.refused = "overloaded"
    machine.asked_costs.clear()
    client = StreamClient(machine, JSON, 100, 200)
    client.send()
    assert_answered(client)
    assert machine.asked_costs == []


def test_an_answer_that_has_begun_to_wait_is_not_refused(machine: Machine) -> None:
    """`refusal` is called for the first block only: later overload does not end a stream."""
    client = StreamClient(machine, JSON, EXPENSIVE_INDEX, ALL)
    client.start()
    machine.refused = "overloaded"
    run(machine, client)
    assert_answered(client)


def test_waiting_since(machine: Machine) -> None:
    """`waiting_since` is the start of the stream until its first byte is sent, then None."""
    client = StreamClient(machine, JSON, 1000, ALL)
    client.start()
    assert client.answer.waiting_since == machine.clock.now
    machine.complete(take(machine))
    assert client.send(room=1) == 1
    assert client.answer.waiting_since is None
    client.answer.stop()


# Claims.


class CountingFarBlocks(FarBlocks):
    """Far blocks that record the maximum number of claims of any claimant."""

    max_held = 0

    def claim(
        self, claimant: Claimant, key: Key, *, is_kept: bool = True
    ) -> tuple[FarBlock, bool] | None:
        """Claim a block and count the claim."""
        claimed = super().claim(claimant, key, is_kept=is_kept)
        held = sum(claimant in entry.claimants for entry in self._claimed.values())
        self.max_held = max(self.max_held, held)
        return claimed


def test_claims_are_few(make_machine: Callable[..., Machine]) -> None:
    """A stream claims at most three blocks, and reaches three if its client is slow."""
    machine = make_machine(MEMORY_LIMIT, far_blocks_type=CountingFarBlocks)
    far_blocks = machine.far_blocks
    assert isinstance(far_blocks, CountingFarBlocks)
    start = JSON.stop_within(0, MAX_GAP_BYTES) + 1
    client = StreamClient(machine, JSON, start, ALL)
    while not client.is_done:
        run_once(machine)
        client.send(room=1000)
        assert far_blocks.used_slots <= MAX_CLAIMS
    assert far_blocks.max_held == MAX_CLAIMS == 3


def test_no_claim_before_it_is_time(machine: Machine) -> None:
    """Far blocks are claimed when at most `BLOCK_BYTES` remain to be sent before them."""
    client = StreamClient(machine, JSON, 0, ALL)
    sent = 0
    while not machine.far_blocks.used_slots:
        run_once(machine)
        sent += client.send(room=1000)
    array = machine.arrays[JSON].growth
    assert (
        array.published_bytes - BLOCK_BYTES <= sent <= array.published_bytes - BLOCK_BYTES + 2000
    )


def test_a_client_that_does_not_read_claims_nothing(machine: Machine) -> None:
    """While the array's part is unsent, no blocks are claimed for the rest."""
    client = StreamClient(machine, JSON, 0, ALL)
    client.start()
    for _ in range(20):
        run_once(machine)
        client.start()
    assert machine.queue.pop() is None
    assert machine.far_blocks.used_slots == 0


def test_answers_share_blocks(machine: Machine) -> None:
    """Concurrent streams of the same elements share each far block."""
    one, other = StreamClient(machine, JSON, 1000, 1300), StreamClient(machine, JSON, 1000, 1300)
    tasks: Counter[int] = Counter()
    while not (one.is_done and other.is_done):
        for client in (one, other):
            client.send()
        for task in machine.take_all():
            tasks[task.block.start] += 1
            machine.complete(task)
    assert_answered(one, other)
    assert set(tasks.values()) == {1}


def test_joining_a_block_that_is_there(machine: Machine) -> None:
    """A stream that claims a filled block sends it at once."""
    first = StreamClient(machine, JSON, 1000, 1300)
    first.send()
    machine.complete(take(machine))
    late = StreamClient(machine, JSON, 1000, 1300)
    assert late.send() > 1
    late.answer.stop()
    first.answer.stop()


@pytest.mark.parametrize("start", [0, 1000])
def test_stop_lets_go_of_everything(machine: Machine, start: int) -> None:
    """A stopped stream has no place in the queue, and holds neither slots nor the array."""
    client = StreamClient(machine, JSON, start, ALL)
    tasks: list[Task] = []
    while machine.far_blocks.used_slots < MAX_CLAIMS:
        client.send(room=3000)
        for task in machine.take_all():
            if task.block.is_resident:
                machine.complete(task)
            else:
                tasks.append(task)
    client.answer.stop()
    client.answer.stop()
    assert machine.queue.pop() is None
    for task in tasks:
        machine.complete(task)
    assert_at_rest(machine)


def test_stop_while_waiting_for_a_slot(make_machine: Callable[..., Machine]) -> None:
    """A stream that is stopped while it waits for a slot leaves the next slot to others."""
    machine = make_machine(0, slots=1)
    owner, gone, late = (
        StreamClient(machine, JSON, start, start + 5) for start in (900, 1000, 1100)
    )
    owner.send()
    machine.complete(take(machine))
    for client in (gone, late):
        client.send()
        assert machine.queue.pop() is None
    gone.answer.stop()
    run(machine, owner, late)
    assert_answered(owner, late)
    assert not machine.far_blocks.is_wanted


# Evictions.


@pytest.mark.parametrize("sent", [0, 1, 2, 113, 114, 1000, 6999])
def test_resuming_after_a_loss(make_machine: Callable[..., Machine], sent: int) -> None:
    """A stream whose block was not kept has it computed again, and resumes at the next byte."""
    machine = make_machine(0, slots=1)
    stalled = StreamClient(machine, JSON, 512, 800)
    stalled.send()
    machine.complete(take(machine))
    if sent:
        stalled.send(room=sent)
    machine.clock.now += STALLED_SECONDS + 0.01
    other = StreamClient(machine, TEXT, 500, 501)
    other.send()
    machine.complete(take(machine))
    assert not stalled.answer.is_ready
    other.send()
    stalled.send()
    machine.complete(take(machine))
    run(machine, stalled)
    assert_answered(stalled, other)


def test_resuming_with_a_kept_block(make_machine: Callable[..., Machine]) -> None:
    """A stream that lost its claim continues from the kept block, without a worker."""
    machine = make_machine(20 * BLOCK_BYTES, slots=1)
    stalled = StreamClient(machine, JSON, 1024, 1030)
    stalled.send()
    machine.complete(take(machine))
    stalled.send(room=100)
    machine.clock.now += STALLED_SECONDS + 0.01
    other = StreamClient(machine, JSON, 1200, 1201)
    other.send()
    machine.complete(take(machine))
    assert not stalled.answer.is_ready
    other.send()
    stalled.send()
    assert machine.queue.pop() is None
    assert machine.far_blocks.found == 1
    assert_answered(stalled, other)


def test_kept_blocks_need_no_worker(machine: Machine) -> None:
    """A reply whose blocks are kept is sent at once: it is neither queued nor refused."""
    client = StreamClient(machine, JSON, EXPENSIVE_INDEX, EXPENSIVE_INDEX + 1)
    run(machine, client)
    machine.refused = "overloaded"
    again = StreamClient(machine, JSON, EXPENSIVE_INDEX, EXPENSIVE_INDEX + 1)
    again.send()
    assert_answered(client, again)
    assert machine.far_blocks.found == 1
    assert_at_rest(machine)


def test_a_loss_of_a_later_block(machine: Machine) -> None:
    """If a block after the one being sent is evicted, the latter stays."""
    client = StreamClient(machine, JSON, 1000, ALL)
    client.send()
    for task in machine.take_all():
        machine.complete(task)
    machine.clock.now += STALLED_SECONDS + 0.01
    assert client.send(room=100) == 100
    others = [StreamClient(machine, TEXT, 900 + 10 * n, 901 + 10 * n) for n in range(6)]
    for other in others:
        other.send()
        machine.complete(take(machine))
    assert machine.far_blocks.used_slots == len(others) + 1
    assert client.answer.is_ready
    run(machine, client, *others)
    assert_answered(client, *others)


def test_a_loss_of_the_first_takes_the_rest_along(machine: Machine) -> None:
    """If the block being sent is evicted, the stream releases the blocks after it."""
    stalled = StreamClient(machine, JSON, 1000, ALL)
    for _ in range(MAX_CLAIMS):
        stalled.send(room=10)
        for task in machine.take_all():
            machine.complete(task)
    assert machine.far_blocks.used_slots == MAX_CLAIMS
    machine.clock.now += STALLED_SECONDS + 0.01
    clients = [StreamClient(machine, TEXT, 900 + 10 * n, 901 + 10 * n) for n in range(6)]
    for client in clients:
        client.send()
        machine.complete(take(machine))
    assert machine.far_blocks.used_slots == len(clients)
    run(machine, stalled, *clients)
    assert_answered(stalled, *clients)


# Failures.


@pytest.mark.parametrize("start", [0, 1000])
def test_failure_before_the_first_byte(machine: Machine, start: int) -> None:
    """A stream that fails before its first byte becomes an error reply and requests no more."""
    client = StreamClient(machine, JSON, start, ALL)
    client.send()
    tasks = machine.take_all()
    machine.fail(tasks.pop(0), "no\r\nroom", "NOSPACE")
    assert client.failures == ["NOSPACE"]
    assert client.is_woken
    assert not client.answer.is_broken
    assert client.answer.is_ready
    assert client.send(room=10) == 10
    assert not client.is_done
    client.send()
    assert client.received == b"-NOSPACE no  room\r\n"
    assert client.is_done
    assert client.times_begun == 0, "no byte of the stream was sent"
    for task in tasks:
        machine.complete(task)
    assert_at_rest(machine)


@pytest.mark.parametrize("start", [0, 1000])
def test_failure_after_the_first_byte(machine: Machine, start: int) -> None:
    """A stream that fails after its first byte is broken."""
    client = StreamClient(machine, JSON, start, ALL)
    client.send()
    machine.complete(take(machine))
    assert client.send(room=1) == 1
    tasks = machine.take_all()
    machine.fail(tasks.pop(0))
    assert client.answer.is_broken
    assert client.failures == ["NOSPACE"]
    client.start()
    assert machine.queue.pop() is None
    for task in tasks:
        machine.complete(task)
    assert_at_rest(machine)


def test_failed_block_fails_streams_that_need_it(machine: Machine) -> None:
    """A failed block fails the started streams that need it or later blocks, and no others."""
    short, long, other = (
        StreamClient(machine, JSON, 0, 10),
        StreamClient(machine, JSON, 0, 200),
        StreamClient(machine, TEXT, 0, 10),
    )
    waiting = StreamClient(machine, JSON, 0, 200)  # not started yet
    for client in (long, short, other):
        client.send()
    first = take(machine)
    tasks = machine.take_all()
    machine.complete(first)
    second = next(task for task in tasks if task.block.start == first.block.stop)
    tasks.remove(second)
    machine.fail(second)
    for task in tasks:
        machine.complete(task)
    assert (short.failures, long.failures) == ([], ["NOSPACE"])
    assert (other.failures, waiting.failures) == ([], [])
    run(machine, short, other, waiting)
    assert_answered(short, other, waiting)


def test_an_answer_fails_once(machine: Machine) -> None:
    """Only the first failure of a stream is reported."""
    client = StreamClient(machine, JSON, 0, 200)
    client.send()
    client.answer.fail("too slow", "BUSY")
    client.answer.fail("no room", "NOSPACE")
    assert client.failures == ["BUSY"]
    client.send()
    assert client.received == b"-BUSY too slow\r\n"


def test_a_failed_block_can_be_had_later(machine: Machine) -> None:
    """A failed block is retried for the next stream that needs it."""
    for start in (0, 1000):
        failed = StreamClient(machine, JSON, start, start + 200)
        failed.send()
        for task in machine.take_all():
            machine.fail(task)
        assert failed.failures == ["NOSPACE"]
        later = StreamClient(machine, JSON, start, start + 200)
        run(machine, later)
        assert_answered(later)
    assert_at_rest(machine)


# Random sequences of events.


class ManyAnswers(RuleBasedStateMachine):
    """Streams of several formats with slow clients, workers in any order and little memory."""

    @initialize(
        memory_blocks=st.integers(0, 30), slots=st.integers(1, 6), seed=st.integers(0, 2**16)
    )
    def set_up(self, memory_blocks: int, slots: int, seed: int) -> None:
        """Create a machine with little memory and few slots."""
        self.machine = Machine(memory_blocks * BLOCK_BYTES // 2, slots, CountingFarBlocks)
        self.clients: list[StreamClient] = []
        self.in_hand: list[Task] = []

    @rule(
        format=st.sampled_from([JSON, TEXT, ARRAY]),
        start=st.one_of(st.just(0), st.integers(0, MAX_INDEX)),
        count=st.one_of(st.integers(1, 100), st.integers(1, ALL)),
    )
    def ask(self, format: Format, start: int, count: int) -> None:
        """Open a stream, started or not."""
        self.clients.append(StreamClient(self.machine, format, start, min(start + count, ALL)))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=st.one_of(st.integers(1, 2000), st.just(10**6)))
    def send(self, data: st.DataObject, room: int) -> None:
        """Let a client's socket accept some bytes."""
        client = data.draw(st.sampled_from(self.clients))
        if client.is_woken or client.is_blocked:
            self._send(client, room)

    def _send(self, client: StreamClient, room: int) -> None:
        is_error = client.failures and not client.answer.is_broken
        if not client.answer.is_broken:
            client.send(room)
        if not is_error:
            assert client.expected.startswith(client.received)
        if client.is_done or client.answer.is_broken:
            if client.failures:
                assert client.failures == ["NOSPACE"]
            else:
                assert_answered(client)
            self.clients.remove(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Disconnect a client."""
        client = data.draw(st.sampled_from(self.clients))
        client.answer.stop()
        self.clients.remove(client)

    @rule(count=st.integers(1, 6), accepts_expensive=st.booleans())
    def dispatch(self, count: int, accepts_expensive: bool) -> None:
        """Give tasks to workers."""
        for _ in range(count):
            task = self.machine.queue.pop(accepts_expensive)
            if task is not None:
                self.in_hand.append(task)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """Complete one of the dispatched tasks."""
        task = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(task)
        self.machine.complete(task)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """Put back a task whose worker has died."""
        task = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(task)
        self.machine.queue.put_back(task)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), is_so=st.sampled_from([True, False, False, False]))
    def fail(self, data: st.DataObject, is_so: bool) -> None:
        """Fail a dispatched task, now and then."""
        if is_so:
            task = data.draw(st.sampled_from(self.in_hand))
            self.in_hand.remove(task)
            self.machine.fail(task)

    @rule(seconds=st.sampled_from([0.01, 0.2, 10.0]))
    def wait(self, seconds: float) -> None:
        """Advance the clock."""
        self.machine.clock.now += seconds
        self.machine.far_blocks.free_idle_memory()
        self.machine.far_blocks.wake_next_waiter()

    @rule()
    def work(self) -> None:
        """Complete all tasks."""
        self._work()

    def _work(self) -> None:
        self.in_hand += self.machine.take_all()
        while self.in_hand:
            self.machine.complete(self.in_hand.pop())

    @invariant()
    def memory_is_kept_to(self) -> None:
        """Arrays, kept blocks and claims stay within their limits."""
        if hasattr(self, "machine"):
            machine = self.machine
            assert machine.memory.used_bytes <= machine.memory.limit_bytes
            assert isinstance(machine.far_blocks, CountingFarBlocks)
            assert machine.far_blocks.max_held <= MAX_CLAIMS

    def teardown(self) -> None:
        """Assert that every client gets its whole reply if all read and all workers work."""
        if hasattr(self, "machine"):
            try:
                self.finish()
            finally:
                self.machine.close()

    def finish(self) -> None:
        """Finish all streams."""
        machine = self.machine
        for _ in range(2000):
            if not self.clients:
                break
            machine.clock.now += 0.05
            machine.far_blocks.wake_next_waiter()
            for client in list(self.clients):
                if client.is_woken or client.is_blocked:
                    self._send(client, 10**6)
            self._work()
        assert not self.clients, "a client waits forever"
        self._work()
        assert_at_rest(machine)


TestManyAnswers = ManyAnswers.TestCase
TestManyAnswers.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
