"""A conversation: from a client's bytes to its replies, with no socket involved.

    received bytes ── parse ──> requests ── execute ──> replies ──> output

Replies keep the order of the requests because there is one output. Requests are answered until
one is incomplete, the output is full or the client's slice of loop time is over; the connection
calls again when there is more data, room or time. A long reply is made in steps as it is sent, so
it stops in the middle for the same reasons.
Requests seen before may be answered without any of this: `replay_of` says how.

After a failed authentication the error reply is held back, and nothing else is answered, until
the connection calls `release`.
"""

import logging
from collections.abc import Iterator
from time import time
from typing import NamedTuple, Protocol

from fibserver.commands import execute
from fibserver.commands.session import Session
from fibserver.core.overload import LoopBudget
from fibserver.core.statistics import CommandStatistics, Statistics
from fibserver.engine.engine import Engine
from fibserver.engine.slice_stream import SliceStream
from fibserver.monitoring.slow_log import SLOW_SECONDS, SlowLog
from fibserver.network.output import Output
from fibserver.network.reply_cache import CachedReply, ReplyCache
from fibserver.protocol.reply_encoding import CommandError, Reply, Slice, encode_error
from fibserver.protocol.request_parser import (
    OtherProtocolError,
    ProtocolError,
    Request,
    parse_request,
)

__all__ = ["Clock", "ConversationListener", "ConversationOwner", "RequestHandler"]

log = logging.getLogger(__name__)

JOIN_BELOW_BYTES = 16 * 1024
"""Slices shorter than this are copied; longer ones are cheaper to gather than to copy."""


AUTHENTICATION_FAILED = "WRONGPASS"
"""The code of the error whose reply is held back."""


class Clock(Protocol):
    """Tells the time."""

    now: float
    """The time of this turn of the loop, monotonic, in seconds."""

    since: float
    """When the loop learnt of what is being handled."""

    budget: LoopBudget
    """The time of this turn, and who may still use it."""


class ConversationOwner(Protocol):
    """What all conversations share."""

    engine: Engine
    replay: ReplyCache
    statistics: Statistics
    slow_log: SlowLog

    @property
    def loop(self) -> Clock:
        """The loop in whose turns things happen."""


class ConversationListener(Protocol):
    """Whoever sends the output."""

    def on_answer_ready(self) -> None:
        """Take note that there is something to send where there was nothing."""


class _Nobody:
    """Listens to a conversation that has ended."""

    def on_answer_ready(self) -> None:
        """Do nothing."""


_NOBODY = _Nobody()


class _PendingRequest(NamedTuple):
    """The request of an answer under way.

    Attributes:
        command: its figures.
        words: the request.
        started: when its execution started.
        queued_seconds: how long it had waited for that.
    """

    command: CommandStatistics
    words: list[bytes]
    started: float
    queued_seconds: float


class _LongReply:
    """A reply that is made in steps.

    Attributes:
        replies: its parts; an empty one only took time.
        asked: the request, until it is counted.
    """

    __slots__ = ("asked", "replies")

    def __init__(self, replies: Iterator[Reply], asked: _PendingRequest) -> None:
        self.replies = replies
        self.asked: _PendingRequest | None = asked


class RequestHandler:
    """What one client says, and what it is answered.

    Attributes:
        session: what the client has said that matters.
        output: what is owed to the client.
        needs_data: whether what is received ends within a request.
        held_error: of a failed authentication, while its reply is held back; nothing else is
            answered meanwhile.
        is_over: whether no more requests are taken, after QUIT or malformed ones.
    """

    __slots__ = (
        "_asked",
        "_find_replay",
        "_listener",
        "_long_reply",
        "_owner",
        "_partial_since",
        "_received",
        "_since",
        "_started",
        "held_error",
        "is_over",
        "needs_data",
        "output",
        "session",
    )

    def __init__(
        self, session: Session, owner: ConversationOwner, listener: ConversationListener
    ) -> None:
        self.session = session
        self.output = Output()
        self.needs_data = True
        self.is_over = False
        self.held_error: CommandError | None = None
        self._owner = owner
        self._find_replay = owner.replay.get
        self._listener: ConversationListener = listener
        self._received = b""  # not yet parsed
        self._partial_since = 0.0  # when what is received came to hold a part of a request
        self._since = 0.0  # when the loop learnt of what is to be answered next
        self._started = 0.0  # when the execution of the present request started
        self._asked: dict[SliceStream, _PendingRequest] = {}  # answers that have not begun
        self._long_reply: _LongReply | None = None

    @property
    def received_bytes(self) -> int:
        """How many bytes have been received and not yet answered."""
        return len(self._received)

    @property
    def partial_seconds(self) -> float:
        """For how long the client has left a request incomplete, 0 if it has not."""
        return self._owner.loop.now - self._partial_since if self._partial_since else 0.0

    def end(self) -> None:
        """Forget all that is owed."""
        self.output.clear()
        self._asked.clear()
        self._long_reply = None
        # It refers back: without a cycle a closed connection needs no garbage collection.
        self._listener = _NOBODY

    def release(self) -> None:
        """Go on after a failed authentication."""
        error, self.held_error = self.held_error, None
        if error is not None:
            self.push_error(str(error), error.code)

    # From bytes to replies.

    @property
    def _is_plain(self) -> bool:
        """Whether requests are answered by what they say alone."""
        return self.session.transaction is None and self.session.is_authenticated

    def replay_of(self, data: bytes) -> CachedReply | None:
        """Return the replies to bytes that have just come, if they may be sent at once.

        They may if they were answered before, and nothing is owed from before.
        """
        replay = self._find_replay(data)
        if replay is None:
            return None
        session = self.session  # nearly all requests come by here: so without a detour
        is_plain = session.transaction is None and session.is_authenticated
        return replay if is_plain and not self._received and not self.output.pieces else None

    def receive(self, data: bytes) -> None:
        """Take bytes that have come; `answer_requests` is to be called next."""
        self._received += data
        self.needs_data = False
        self._since = self._owner.loop.since

    def answer_requests(self) -> None:
        """Answer what is received, as far as data, room in the output and time go."""
        data, position = self._received, 0
        replay_of = self._find_replay
        budget = self._owner.loop.budget
        clock, slice_end = budget.clock, budget.slice_end
        self.needs_data = False
        self._started = budget.last_read
        if not self._since:
            self._since = self._owner.loop.now
        while not self.output.is_full and self.held_error is None:
            if self._long_reply is not None:
                self._continue_reply(self._long_reply)
            else:
                request = self._next_request(data, position)
                if request is None:
                    self.needs_data = True
                    break
                received = data[position : request.end]
                position = request.end
                replay = replay_of(received)
                if replay is not None and self._is_plain:
                    self.push_replay(replay)
                    self.session.last_command = replay.command.name
                    self._record(replay.command, request.arguments)
                elif request.arguments:
                    self._answer(request.arguments, received)
            self._started = budget.last_read = clock()
            if self._started >= slice_end:
                break
        else:
            self._since = 0.0  # what comes next waits for the client to read, which is not counted
        if position == len(data) and position:
            self._learn_repeated(data, received)
        self._received = data[position:] if not self.is_over else b""
        if not (self._received and self.needs_data):
            self._partial_since = 0.0
        elif position or not self._partial_since:
            self._partial_since = self._owner.loop.now

    def _learn_repeated(self, data: bytes, request: bytes) -> None:
        """Remember how to answer one request said several times at once, as benchmarks do."""
        count = len(data) // len(request)
        replay = self._owner.replay.get(request) if count > 1 and self._is_plain else None
        if replay is not None and data == request * count:
            self._owner.replay.learn(data, replay.replies * count, replay.command, count)

    def _next_request(self, data: bytes, position: int) -> Request | None:
        """Parse a request; after a malformed one, or QUIT, there are no more."""
        if self.is_over:
            return None
        try:
            return parse_request(data, position)
        except OtherProtocolError as error:
            log.warning("%s: %s", self.session.address, error)
            self.output.clear()
        except ProtocolError as error:
            log.info("%s: protocol error: %s", self.session.address, error)
            self.push_error(f"Protocol error: {error}", "ERR")
        self.is_over = True
        return None

    def _answer(self, words: list[bytes], received: bytes) -> None:
        """Run one request.

        Args:
            words: the request.
            received: its bytes, to be remembered with the replies if those never change.
        """
        session = self.session
        try:
            command, statistics, replies = execute(session, words)
        except CommandError as error:
            if error.was_run:
                statistics = session.server.statistics.command(session.last_command)
                self._record(statistics, words)
            if error.code == AUTHENTICATION_FAILED:
                log.warning("%s: failed authentication", session.address)
                self.held_error = error.with_traceback(None)  # whose frames refer back
            else:
                self.push_error(str(error), error.code)
            self.is_over = session.is_quitting
            return
        if not isinstance(replies, list):
            self._long_reply = _LongReply(replies, self._ask(statistics, words))
            return
        is_recorded = False
        for number, reply in enumerate(replies):
            if isinstance(reply, Slice):
                replies[number] = reply = self._joined(reply) or reply
            if isinstance(reply, Slice):
                # It is recorded when the first answer begins.
                self.push_stream(reply, None if is_recorded else self._ask(statistics, words))
                is_recorded = True
            else:
                self.output.push(reply)
        if not is_recorded:
            self._record(statistics, words)
        self.is_over = session.is_quitting
        if command.is_immutable and session.transaction is None and _are_lasting(replies):
            self._owner.replay.learn(received, replies, statistics)

    def _ask(self, command: CommandStatistics, words: list[bytes]) -> _PendingRequest:
        return _PendingRequest(command, words, self._started, self._started - self._since)

    def _continue_reply(self, long: _LongReply) -> None:
        """Make one more part of a long reply."""
        try:
            reply = next(long.replies)
        except StopIteration:
            pass
        except CommandError as error:
            if long.asked is not None:
                long.asked.command.errors[error.code] += 1
            self.push_error(str(error), error.code)
        else:
            if isinstance(reply, Slice):
                reply = self._joined(reply) or reply
            if reply and self._push(reply, long.asked):
                long.asked = None  # it is counted when the first answer begins
            return
        self._long_reply = None
        if long.asked is not None:
            self._record_asked(long.asked, long.asked.started)
        self.is_over = self.session.is_quitting

    def push_replay(self, replay: CachedReply) -> None:
        """Owe the client the replies to requests that were answered before."""
        if replay.ready:
            self.output.push(replay.ready)
            return
        for reply in replay.replies:
            self._push(reply, None)

    def _push(self, reply: Reply, asked: _PendingRequest | None) -> bool:
        """Owe the client a reply; return whether it is an answer, to be counted later."""
        if isinstance(reply, Slice):
            self.push_stream(reply, asked)
            return True
        self.output.push(reply)
        return False

    def _joined(self, slice: Slice) -> bytes | None:
        """Return the bytes of a small slice if all of it is published."""
        if slice.size >= JOIN_BELOW_BYTES:
            return None
        view = self.published(slice)
        return None if view is None else b"".join([slice.header, view, slice.trailer])

    def published(self, slice: Slice) -> memoryview | None:
        """Return the elements of a slice if all of them are published."""
        array = self._owner.engine.arrays[slice.format]
        if slice.stop > array.growth.published:
            return None
        array.use(slice.stop)
        offset = array.offset(slice.start)
        return array.bytes_between(offset, offset + slice.size)

    def push_stream(self, slice: Slice, asked: _PendingRequest | None = None) -> SliceStream:
        """Owe the client a slice, by way of an answer.

        Args:
            slice: what to answer.
            asked: what to count when it begins, if that has not been counted.
        """
        answer = self._owner.engine.answer(slice, self)
        if asked is not None:
            self._asked[answer] = asked
        self.output.push_stream(answer)
        return answer

    def push_error(self, message: str, code: str) -> None:
        """Owe the client an error reply, and count it."""
        self._owner.statistics.errors[code] += 1
        self.output.push(encode_error(message, code))

    # What is counted.

    def on_answer_ready(self) -> None:
        """Have what has come sent, in this turn of the loop."""
        self._listener.on_answer_ready()

    def on_answer_begun(self, answer: SliceStream) -> None:
        """Count the request of an answer."""
        asked = self._asked.pop(answer, None)
        if asked is not None:
            self._record_asked(asked, answer.started_at)

    def on_answer_failed(self, answer: SliceStream, code: str) -> None:
        """Count the failure, and have the error sent or the connection broken off."""
        self._owner.statistics.errors[code] += 1
        asked = self._asked.pop(answer, None)
        if asked is not None:
            asked.command.errors[code] += 1
            self._record_asked(asked, answer.started_at)
        self._listener.on_answer_ready()

    def record_replay(self, data: bytes, replay: CachedReply) -> None:
        """Record requests that were answered by replay just now.

        Args:
            data: the requests.
            replay: their replies.
        """
        loop = self._owner.loop
        budget = loop.budget
        started = budget.last_read
        budget.last_read = now = budget.clock()
        seconds = now - started
        command = replay.command
        command.record(seconds, started - loop.since, replay.calls)
        self.session.last_command = command.name
        if now > budget.end:
            budget.is_spent = True
        if seconds > SLOW_SECONDS and (request := parse_request(data)):
            self._record_slow(seconds, request.arguments)

    def _record(self, command: CommandStatistics, words: list[bytes]) -> None:
        """Record the present request, whose reply begins to be sent now."""
        started = self._started
        seconds = self._owner.loop.budget.clock() - started
        command.record(seconds, started - self._since)
        if seconds > SLOW_SECONDS:
            self._record_slow(seconds, words)

    def _record_asked(self, asked: _PendingRequest, started: float) -> None:
        """Record an earlier request, whose reply begins to be sent now.

        Args:
            asked: the request.
            started: when the work for its reply began, which may be later than its execution: what
                is between is the time of the replies before it. 0 if no work was needed.
        """
        now = self._owner.loop.budget.clock()
        seconds = now - started if started else 0.0
        asked.command.record(seconds, asked.queued_seconds)
        if seconds > SLOW_SECONDS:
            self._record_slow(seconds, asked.words)

    def _record_slow(self, seconds: float, words: list[bytes]) -> None:
        session = self.session
        self._owner.slow_log.add(time(), seconds, words, session.address, session.name)


def _are_lasting(replies: list[Reply]) -> bool:
    """Return whether replies may be remembered: a small slice waits until it can be bytes."""
    return all(isinstance(reply, bytes) or reply.size >= JOIN_BELOW_BYTES for reply in replies)
