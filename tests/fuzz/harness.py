"""Harness that runs inputs through a real connection, and checks the output.

Requirements for every input, however it is split and whatever fails meanwhile:

- no exception leaves a connection or is logged by it, and no warning is raised;
- its output is a sequence of valid replies, complete unless the connection broke;
- nothing follows a protocol error;
- memory is bounded by the limits: of input one request and one read, of output a full output and
  one reply;
- the connection ends by itself, and leaves no task of workers, no claim of a slot, no reader of an
  array and no open socket.

For a sample, and for every file of the corpus, the output must also equal that of
`tests.fuzz.reference` if the input is whole, split at every byte, and split at random.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from select import EPOLLERR, EPOLLHUP, EPOLLIN
from typing import NamedTuple

from fibserver.network import output_queue as output_module
from fibserver.network import request_handler as handler_module
from fibserver.network.connection import ConnectionState
from tests.fuzz.conversation import FuzzedConversation, FuzzFailure
from tests.fuzz.fakes import MAX_INDEX, PASSWORD, FakeSocket, FuzzedServer
from tests.fuzz.reference import Reference
from tests.fuzz.reply_parser import MalformedReplyError, parse_replies

__all__ = ["Case", "Figures", "FuzzFailure", "Harness", "load_corpus"]

CORPUS = Path(__file__).parent / "corpus"
MAX_ITERATIONS = 400_000
"""Far above the iterations of any input that ends."""

MAX_ROUNDS = 60_000
"""Far above the rounds of concurrent clients, each of which has one iteration in a round."""

COSTLY_BYTES = 1000
COMPARED_EVERY = 40
"""One of this many inputs is compared with the reference, which takes twenty times as long."""

SINGLE_BYTES = 64
"""Number of bytes of such an input that arrive one by one; of a seed all do."""

SHARES = (0.8, 0.92)
"""Cumulative shares of the plain runs, and of those with random sockets but no faults."""


class Case(NamedTuple):
    """One input.

    Attributes:
        data: Bytes that the client sends.
        plan: Number from 0 to 2^64-1 that decides everything else.
    """

    data: bytes
    plan: int


class Figures:
    """Counts of a harness.

    Attributes:
        inputs: Number of inputs.
        bytes: Their total size.
        replies: Number of parsed replies.
        protocol_errors: Number of protocol errors among them.
    """

    def __init__(self) -> None:
        self.inputs = self.bytes = self.replies = self.protocol_errors = 0


def load_corpus() -> dict[str, bytes]:
    """Return the seeds by file name."""
    return {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


class Harness:
    """Server that runs many inputs, and the checks for each.

    Attributes:
        figures: Counts so far.
    """

    def __init__(self, server: FuzzedServer) -> None:
        self.figures = Figures()
        self._server = server
        self._reference = Reference(MAX_INDEX)
        self._rng = Random()

    def is_costly(self, seed: bytes) -> bool:
        """Return whether a seed is long or causes much work."""
        self._server.password = None
        expected = self._reference.expected(self._server.new_session(), seed)
        # Replies that vary must not decide: a seed must always generate the same inputs.
        return expected.varies or len(seed) + len(expected.output) > COSTLY_BYTES or b"00" in seed

    # Which way an input goes.

    def check(self, case: Case) -> None:
        """Run an input according to its plan.

        Raises:
            FuzzFailure: A requirement is not met.
        """
        data, plan = case
        self.figures.inputs += 1
        self.figures.bytes += len(data)
        self._server.password = PASSWORD if plan & 7 == 0 else None
        if plan >> 3 & 63 == 0 and 0 < len(data) < 500:
            chunks = [data, data]  # the second time it may be replayed
            data += data
        else:
            chunks = [data] if data else []
        try:
            if (plan >> 8) % COMPARED_EVERY == 0:
                self._compare(data, chunks, plan, SINGLE_BYTES)
                return
            share = (plan >> 16 & 0xFFFF) / 0x10000
            if share < SHARES[0]:
                self._run(chunks, None, ends_early=plan >> 32 & 7 == 0)
            else:
                self._rng.seed(plan)
                if share < SHARES[1]:
                    self._run(list(self._cuts(data)), self._rng, plan >> 32 & 1 == 0)
                else:
                    self._run_faulty(data)
        except Exception as error:
            raise FuzzFailure(f"{error}\n{case}") from error

    def check_thoroughly(self, data: bytes) -> None:
        """Compare an input with the reference, split in all ways, with and without a password.

        Raises:
            FuzzFailure: A requirement is not met.
        """
        for password in (None, PASSWORD):
            self._server.password = password
            for plan in range(3):
                self._compare(data, [data] if data else [], plan, 5000)

    def check_crowd(self, inputs: list[bytes], plan: int) -> None:
        """Run several inputs concurrently, so that they compete for workers and slots.

        Args:
            inputs: Inputs without CLIENT commands.
            plan: Decides everything else.

        Raises:
            FuzzFailure: A requirement is not met.
        """
        self._rng.seed(plan)
        self._server.password = None
        self.figures.inputs += len(inputs)
        self.figures.bytes += sum(map(len, inputs))
        try:
            self._run_side_by_side(inputs)
        except Exception as error:
            raise FuzzFailure(f"{error}\nside by side: {inputs}, plan={plan}") from error

    def _compare(self, data: bytes, chunks: list[bytes], plan: int, singles: int) -> None:
        expected = self._reference.expected(self._server.new_session(), data)
        self._rng.seed(plan)
        start = int(self._rng.random() * max(0, len(data) - singles))
        end = min(len(data), start + singles)
        single = [
            data[end:],
            *(data[i : i + 1] for i in range(end - 1, start - 1, -1)),
            data[:start],
        ]
        ways = {
            "whole": (chunks, None),
            "byte by byte": (list(filter(None, single)), None),
            "at random": (list(self._cuts(data)), self._rng),
        }
        for way, (cuts, rng) in ways.items():
            got = self._run(list(cuts), rng, plan & 1 == 0, expected.copied_bytes)
            if not expected.allows(got):
                raise FuzzFailure(f"{way}: {_difference(got, expected.output)}")

    def _cuts(self, data: bytes) -> Iterator[bytes]:
        """Split into chunks, the last one first."""
        rng = self._rng
        end = len(data)
        longest = 1 + int(rng.random() ** 2 * 1000)
        while end > 0:
            start = max(0, end - 1 - int(rng.random() * longest))
            yield data[start:end]
            end = start

    # One connection.

    def _run(
        self, chunks: list[bytes], rng: Random | None, ends_early: bool, copied: int | None = None
    ) -> bytes:
        """Run a client to its end; return what it received.

        Args:
            chunks: Chunks that it sends, the last one first.
            rng: Decides how much the socket accepts; None: everything.
            ends_early: Whether the client shuts down its sending side at once.
            copied: Most bytes that the server may hold for one request, if known.
        """
        sock = FakeSocket(chunks, rng)
        sock.has_ended = ends_early
        conversation = FuzzedConversation(self._server, sock)
        if rng is None and not ends_early:
            conversation.go_straight()
        for _ in range(MAX_ITERATIONS):
            if conversation.run_once(rng) or (not conversation.is_over and self._run_engine(rng)):
                continue
            limit = output_module.MAX_PENDING_BYTES + handler_module.JOIN_BELOW_BYTES
            if copied is not None and conversation.most_pending > limit + copied:
                raise FuzzFailure(f"{conversation.most_pending} bytes of output were pending")
            return self._judge(conversation)
        raise FuzzFailure(f"no end, {conversation.connection.state}")

    def _run_engine(self, rng: Random | None, failing: float = 0.0) -> bool:
        """Run one step of the workers; return whether there was any."""
        hands = self._server.hands
        in_hand = hands.in_hand
        hands.far_blocks.wake_next_waiter()
        while len(in_hand) < 3 and hands.take_task():
            pass
        if not in_hand:
            return bool(self._server.to_send)  # taking a task can give a stream its bytes
        if rng is None:
            hands.finish_task()
            return True
        number = int(rng.random() * len(in_hand))
        if rng.random() < failing:
            hands.fail_task(number, int(rng.random() * 3))
        else:
            hands.finish_task(number)
        if rng.random() < 0.2:
            self._server.loop.now += 10 ** (rng.random() * 3 - 2)  # 10 ms to 10 s
            hands.far_blocks.free_idle_memory()
        return True

    def _judge(self, conversation: FuzzedConversation, may_be_cut: bool = False) -> bytes:
        """Check the requirements at the end; return what the client received."""
        server = self._server
        if not conversation.is_over:
            raise FuzzFailure(
                f"stuck, {conversation.connection.state}, {conversation.sock.chunks} to come"
            )
        self._check_leaks(conversation)
        if server.has_rejected_http or server.has_broken_off:
            if server.has_broken_off and not may_be_cut:
                raise FuzzFailure("a reply broke off")
            server.has_rejected_http = server.has_broken_off = False
            may_be_cut = True
        output = b"".join(conversation.sock.received)
        try:
            replies = parse_replies(output)
        except MalformedReplyError as error:
            raise FuzzFailure(f"{error} in {output[:1000]!r}") from None
        if not (replies.is_whole or may_be_cut):
            raise FuzzFailure(f"the output ends within a reply: {output[-200:]!r}")
        if replies.protocol_errors and not (
            replies.protocol_errors == 1 and (replies.ends_with_protocol_error or may_be_cut)
        ):
            raise FuzzFailure(f"replies behind a protocol error: {output[-1000:]!r}")
        excess = conversation.most_pending - output_module.MAX_PENDING_BYTES
        if excess > replies.largest and not may_be_cut:
            raise FuzzFailure(f"{conversation.most_pending} bytes of output were pending")
        self.figures.replies += replies.total
        self.figures.protocol_errors += replies.protocol_errors
        return output

    def _check_leaks(self, conversation: FuzzedConversation) -> None:
        server = self._server
        if server.faults:
            faults = "\n".join(server.faults)
            server.faults.clear()
            raise FuzzFailure(faults)
        is_known = (
            conversation.connection in server.to_send or conversation.connection in server.held
        )
        if is_known or server.waiting or not conversation.sock.is_closed:
            raise FuzzFailure("closed by half")
        if conversation.connection.handler.output or server.output_total.held_bytes:
            raise FuzzFailure("closed with output")
        hands = server.hands
        if hands.has_answered and not server.to_send:
            hands.has_answered = False
            while hands.in_hand:
                hands.finish_task()
            if hands.leaks:
                raise FuzzFailure(f"left behind: {', '.join(hands.leaks)}")

    # Connections that end badly.

    def _run_faulty(self, data: bytes) -> None:
        """Run a client with a fault at a random time."""
        rng = self._rng
        fault = _FAULTS[int(rng.random() * len(_FAULTS))]
        sock = FakeSocket(list(self._cuts(data)), rng if rng.random() < 0.7 else None)
        sock.has_ended = rng.random() < 0.5
        conversation = FuzzedConversation(self._server, sock)
        failing = 0.5 if fault == "workers" else 0.0
        when = int(rng.random() ** 2 * (len(sock.chunks) + 6))
        for iteration in range(MAX_ITERATIONS):
            if iteration == when and not conversation.is_over:
                self._harm(conversation, fault)
            if not (
                conversation.run_once(rng)
                or (not conversation.is_over and self._run_engine(rng, failing))
            ):
                break
        self._judge(conversation, may_be_cut=fault not in ("finish", "reject"))

    def _harm(self, conversation: FuzzedConversation, fault: str) -> None:
        connection = conversation.connection
        match fault:
            case "reset":
                conversation.sock.is_broken = True
            case "hang-up":
                conversation.event(
                    (EPOLLHUP, EPOLLERR, EPOLLHUP | EPOLLIN)[int(self._rng.random() * 3)]
                )
            case "finish":
                connection.drain()
            case "give up":
                connection.time_out(60.0)
            case "close":
                connection.close()
            case "reject" if connection.state is ConnectionState.OPEN and connection.is_idle:
                connection.reject("max number of clients reached")

    # Many connections.

    def _run_side_by_side(self, inputs: list[bytes]) -> None:
        rng, server = self._rng, self._server
        wanted = []
        for data in inputs:
            wanted.append(self._reference.expected(server.new_session(), data))
        conversations = [
            FuzzedConversation(server, FakeSocket(list(self._cuts(data)), rng)) for data in inputs
        ]
        idle_rounds = rounds = 0
        while idle_rounds < 10:
            idle_rounds += 1
            rounds += 1
            if rounds > MAX_ROUNDS:
                states = [
                    conversation.connection.state.name
                    for conversation in conversations
                    if not conversation.is_over
                ]
                raise FuzzFailure(f"no end: {', '.join(states)}")
            for conversation in conversations:
                if (idle_rounds > 2 or rng.random() < 0.7) and conversation.run_once(rng):
                    idle_rounds = 0
            server.loop.now += 0.03
            if self._run_engine(rng):
                idle_rounds = 0
        for conversation, expected in zip(conversations, wanted, strict=True):
            got = self._judge(conversation, may_be_cut=expected.is_http)
            if not expected.allows(got):
                raise FuzzFailure(f"in a crowd: {_difference(got, expected.output)}")


_FAULTS = ("reset", "hang-up", "finish", "give up", "close", "reject", "workers", "workers")


def _difference(got: bytes, expected: bytes) -> str:
    same = next(
        (i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
        min(len(got), len(expected)),
    )
    start = max(0, same - 40)
    return (
        f"{len(got)} bytes, expected {len(expected)}; from byte {start}: "
        f"{got[start : start + 300]!r}, expected {expected[start : start + 300]!r}"
    )
