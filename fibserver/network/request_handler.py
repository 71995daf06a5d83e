"""Request handler: parses and executes the requests of one client, without access to its socket.

    received bytes ── parse ──> requests ── execute ──> replies ──> output

Replies keep the order of the requests because there is one output. Requests are executed until
one is incomplete, the output is full or the client's time slice is over; the connection calls
again when there is more data, room or time. A long reply is generated in steps while it is sent,
so it pauses for the same reasons.
Requests in the reply cache skip all of this (`find_cached`).

After a failed authentication the error reply is delayed, and nothing else is executed, until the
connection calls `send_delayed_error`.
"""

import logging
from collections.abc import Callable, Iterator
from time import time
from typing import NamedTuple, Protocol

from fibserver.commands import execute
from fibserver.commands.session import Session
from fibserver.core.client_limits import LoopBudget
from fibserver.core.statistics import CommandStatistics, Statistics
from fibserver.engine.engine import Engine
from fibserver.engine.stream import Stream
from fibserver.monitoring.slow_log import SLOW_SECONDS, SlowLog
from fibserver.network.output_queue import OutputQueue
from fibserver.network.reply_cache import CachedReply, ReplyCache
from fibserver.protocol.reply_encoding import (
    Calculation,
    CommandError,
    Reply,
    Slice,
    encode_error,
)
from fibserver.protocol.request_parser import (
    OtherProtocolError,
    ProtocolError,
    RespRequest,
    parse_request,
)

__all__ = ["Clock", "HandlerContext", "RequestHandler"]

log = logging.getLogger(__name__)

JOIN_BELOW_BYTES = 16 * 1024
"""Shorter slices are copied into one buffer; longer ones are cheaper to send from several."""

AUTHENTICATION_FAILED = "WRONGPASS"
"""Code of the error whose reply is held back."""


class Clock(Protocol):
    """Time and time budget of the event loop."""

    now: float
    """Start of this loop iteration, monotonic, in seconds."""

    since: float
    """When epoll reported the event that is being handled, monotonic, in seconds."""

    budget: LoopBudget
    """Time budget of this loop iteration."""


class HandlerContext(Protocol):
    """Objects that all request handlers share."""

    engine: Engine
    reply_cache: ReplyCache
    statistics: Statistics
    slow_log: SlowLog

    @property
    def loop(self) -> Clock:
        """Time and time budget of the event loop."""


def _do_nothing() -> None:
    pass


class _PendingRequest(NamedTuple):
    """A request whose reply has not begun to be sent.

    Attributes:
        command: Statistics of its command.
        args: The command name and its arguments.
        started: When its execution started.
        queued_seconds: Time from its arrival to the start of its execution.
    """

    command: CommandStatistics
    args: list[bytes]
    started: float
    queued_seconds: float


class _LongReply:
    """A reply that is generated in steps.

    Attributes:
        replies: Its parts; an empty one marks a step without output.
        request: The request; None once a slice stream has taken over recording it.
    """

    __slots__ = ("replies", "request")

    def __init__(self, replies: Iterator[Reply], request: _PendingRequest) -> None:
        self.replies = replies
        self.request: _PendingRequest | None = request


class RequestHandler:
    """Executes the requests of one client, and queues their replies.

    Attributes:
        session: The client's protocol state.
        output: The pending replies.
        on_output_ready: Schedules sending; called when a stream in the output has bytes ready.
        needs_data: Whether no complete request is left to execute.
        delayed_error: Error of a failed authentication while its reply is delayed, else None.
        is_over: Whether further requests are ignored, after QUIT or a malformed request.
    """

    __slots__ = (
        "_context",
        "_find_cached",
        "_long_reply",
        "_partial_since",
        "_pending",
        "_received",
        "_since",
        "_started",
        "delayed_error",
        "is_over",
        "needs_data",
        "on_output_ready",
        "output",
        "session",
    )

    def __init__(
        self, session: Session, context: HandlerContext, on_output_ready: Callable[[], None]
    ) -> None:
        """Start without requests.

        Args:
            session: The client's protocol state.
            context: Provides the engine, the reply cache, the statistics and the loop's clock.
            on_output_ready: Schedules sending.
        """
        self.session = session
        self.on_output_ready = on_output_ready
        self.output = OutputQueue()
        self.needs_data = True
        self.is_over = False
        self.delayed_error: CommandError | None = None
        self._context = context
        self._find_cached = context.reply_cache.get
        self._received = b""  # not yet parsed
        self._partial_since = 0.0  # when the incomplete request began, 0 if none is
        self._since = 0.0  # when epoll reported the bytes that are executed next
        self._started = 0.0  # when the execution of the current request started
        self._pending: dict[Stream, _PendingRequest] = {}  # of streams that have not begun
        self._long_reply: _LongReply | None = None

    @property
    def received_bytes(self) -> int:
        """Number of bytes received and not yet executed."""
        return len(self._received)

    @property
    def partial_seconds(self) -> float:
        """Time for which a request has been incomplete, 0 if none is."""
        return self._context.loop.now - self._partial_since if self._partial_since else 0.0

    def end(self) -> None:
        """Discard pending requests and replies."""
        self.output.clear()
        self._pending.clear()
        self._long_reply = None
        # This breaks a reference cycle: a closed connection needs no garbage collection.
        self.on_output_ready = _do_nothing

    def send_delayed_error(self) -> None:
        """Queue the delayed error of a failed authentication."""
        error, self.delayed_error = self.delayed_error, None
        if error is not None:
            self.push_error(str(error), error.code)

    # Executing requests.

    @property
    def _may_use_cache(self) -> bool:
        """Whether replies depend on the request alone, not on the session."""
        return self.session.transaction is None and self.session.is_authenticated

    def find_cached(self, data: bytes) -> CachedReply | None:
        """Return the cached replies to received bytes if they can be sent at once, else None.

        They cannot while earlier bytes wait to be executed, or earlier replies to be sent.
        """
        cached = self._find_cached(data)
        if cached is None:
            return None
        session = self.session  # `_may_use_cache`, inlined: nearly all requests take this path
        may_use_cache = session.transaction is None and session.is_authenticated
        return cached if may_use_cache and not self._received and not self.output.pieces else None

    def receive(self, data: bytes) -> None:
        """Append received bytes; call `execute_requests` next."""
        self._received += data
        self.needs_data = False
        self._since = self._context.loop.since

    def execute_requests(self) -> None:
        """Execute received requests until data, room in the output or time run out."""
        data, position = self._received, 0
        find_cached = self._find_cached
        budget = self._context.loop.budget
        clock, slice_end = budget.clock, budget.slice_end
        self.needs_data = False
        self._started = budget.last_read
        if not self._since:
            self._since = self._context.loop.now
        while not self.output.is_full and self.delayed_error is None:
            if self._long_reply is not None:
                self._continue_reply(self._long_reply)
            else:
                request = self._next_request(data, position)
                if request is None:
                    self.needs_data = True
                    break
                received = data[position : request.end]
                position = request.end
                cached = find_cached(received)
                if cached is not None and self._may_use_cache:
                    self.push_cached(cached)
                    self.session.last_command = cached.command.name
                    self._record(cached.command, request.arguments)
                elif request.arguments:
                    self._execute(request.arguments, received)
            self._started = budget.last_read = clock()
            if self._started >= slice_end:
                break
        else:
            self._since = 0.0  # waiting for the client to read is not queueing time
        if position == len(data) and position:
            self._cache_repeated(data, received)
        self._received = data[position:] if not self.is_over else b""
        if not (self._received and self.needs_data):
            self._partial_since = 0.0
        elif position or not self._partial_since:
            self._partial_since = self._context.loop.now

    def _cache_repeated(self, data: bytes, request: bytes) -> None:
        """Cache the replies to a pipeline of equal requests, as benchmarks send them."""
        count = len(data) // len(request)
        cached = (
            self._context.reply_cache.get(request) if count > 1 and self._may_use_cache else None
        )
        if cached is not None and data == request * count:
            self._context.reply_cache.put(data, cached.replies * count, cached.command, count)

    def _next_request(self, data: bytes, position: int) -> RespRequest | None:
        """Parse a request; return None if it is incomplete, or no more are executed."""
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

    def _execute(self, args: list[bytes], received: bytes) -> None:
        """Execute one request and queue its replies.

        Args:
            args: The command name and its arguments.
            received: The bytes of the request, the key of its replies in the cache.
        """
        session = self.session
        try:
            command, statistics, replies = execute(session, args)
        except CommandError as error:
            if error.was_run:
                statistics = session.server.statistics.command(args[0].decode().lower())
                self._record(statistics, args)
            if error.code == AUTHENTICATION_FAILED:
                log.warning("%s: failed authentication", session.address)
                self.delayed_error = error.with_traceback(None)  # with it, a reference cycle
            else:
                self.push_error(str(error), error.code)
            self.is_over = session.is_quitting
            return
        if not isinstance(replies, list):
            self._long_reply = _LongReply(replies, self._pending_request(statistics, args))
            return
        is_recorded = False
        for number, reply in enumerate(replies):
            if isinstance(reply, Slice):
                replies[number] = reply = self._joined(reply) or reply
            if not isinstance(reply, bytes):
                # The request is recorded when its first stream begins.
                request = None if is_recorded else self._pending_request(statistics, args)
                self.push_stream(reply, request)
                is_recorded = True
            else:
                self.output.push(reply)
        if not is_recorded:
            self._record(statistics, args)
        self.is_over = session.is_quitting
        cache = self._context.reply_cache
        if (
            command.is_immutable
            and session.transaction is None
            and cache.is_repeated(received)
            and _are_cacheable(replies)
        ):
            cache.put(received, replies, statistics)

    def _pending_request(self, command: CommandStatistics, args: list[bytes]) -> _PendingRequest:
        return _PendingRequest(command, args, self._started, self._started - self._since)

    def _continue_reply(self, long: _LongReply) -> None:
        """Generate the next part of a long reply."""
        try:
            reply = next(long.replies)
        except StopIteration:
            pass
        except CommandError as error:
            if long.request is not None:
                long.request.command.errors[error.code] += 1
            self.push_error(str(error), error.code)
        else:
            if isinstance(reply, Slice):
                reply = self._joined(reply) or reply
            if reply and self._push(reply, long.request):
                long.request = None  # it is recorded when the first stream begins
            return
        self._long_reply = None
        if long.request is not None:
            self._record_pending(long.request, long.request.started)
        self.is_over = self.session.is_quitting

    def push_cached(self, cached: CachedReply) -> None:
        """Queue cached replies."""
        if cached.ready:
            self.output.push(cached.ready)
            return
        for reply in cached.replies:
            self._push(reply, None)

    def _push(self, reply: Reply, request: _PendingRequest | None) -> bool:
        """Queue a reply; return whether it is a stream, which records the request later."""
        if isinstance(reply, bytes):
            self.output.push(reply)
            return False
        self.push_stream(reply, request)
        return True

    def _joined(self, slice: Slice) -> bytes | None:
        """Return the bytes of a small slice if all its elements are published, else None."""
        if slice.size >= JOIN_BELOW_BYTES:
            return None
        view = self.published(slice)
        return None if view is None else b"".join([slice.header, view, slice.trailer])

    def published(self, slice: Slice) -> memoryview | None:
        """Return the elements of a slice if all of them are published, else None."""
        array = self._context.engine.arrays[slice.format]
        if slice.stop > array.growth.published:
            return None
        array.touch(slice.stop)
        offset = array.offset(slice.start) + slice.skip
        return array.bytes_between(offset, offset + slice.size)

    def push_stream(
        self, reply: Slice | Calculation, request: _PendingRequest | None = None
    ) -> Stream:
        """Queue a reply as a stream.

        Args:
            reply: The reply to send.
            request: The request to record when the stream begins, None if there is none.

        Returns:
            The stream.
        """
        stream = self._context.engine.open_stream(reply, self)
        if request is not None:
            self._pending[stream] = request
        self.output.push_stream(stream)
        return stream

    def push_error(self, message: str, code: str) -> None:
        """Queue an error reply, and count it."""
        self._context.statistics.errors[code] += 1
        self.output.push(encode_error(message, code))

    # Stream events and statistics.

    def on_stream_started(self, stream: Stream) -> None:
        """Record the request of a stream whose first byte has been sent."""
        request = self._pending.pop(stream, None)
        if request is not None:
            self._record_pending(request, stream.started_at)

    def on_stream_failed(self, stream: Stream, code: str) -> None:
        """Record the failure of a stream, and schedule sending its error."""
        self._context.statistics.errors[code] += 1
        request = self._pending.pop(stream, None)
        if request is not None:
            request.command.errors[code] += 1
            self._record_pending(request, stream.started_at)
        self.on_output_ready()

    def record_cached(self, data: bytes, cached: CachedReply) -> None:
        """Record requests that were just answered from the cache.

        Args:
            data: The bytes of the requests.
            cached: Their replies.
        """
        loop = self._context.loop
        budget = loop.budget
        started = budget.last_read
        budget.last_read = now = budget.clock()
        seconds = now - started
        command = cached.command
        command.record(seconds, started - loop.since, cached.calls)
        self.session.last_command = command.name
        if now > budget.end:
            budget.is_spent = True
        if seconds > SLOW_SECONDS and (request := parse_request(data)):
            self._record_slow(seconds, request.arguments)

    def _record(self, command: CommandStatistics, args: list[bytes]) -> None:
        """Record the current request, whose reply is ready now."""
        started = self._started
        seconds = self._context.loop.budget.clock() - started
        command.record(seconds, started - self._since)
        if seconds > SLOW_SECONDS:
            self._record_slow(seconds, args)

    def _record_pending(self, request: _PendingRequest, started: float) -> None:
        """Record an earlier request, whose reply begins now or has failed.

        Args:
            request: The request.
            started: When the work on its reply started: later than its execution if earlier
                replies had to be sent first, 0 if no work was needed.
        """
        now = self._context.loop.budget.clock()
        seconds = now - started if started else 0.0
        request.command.record(seconds, request.queued_seconds)
        if seconds > SLOW_SECONDS:
            self._record_slow(seconds, request.args)

    def _record_slow(self, seconds: float, args: list[bytes]) -> None:
        session = self.session
        self._context.slow_log.add(time(), seconds, args, session.address, session.name)


def _are_cacheable(replies: list[Reply]) -> bool:
    """Return whether replies can be cached; a small slice cannot until it is published."""
    return all(
        isinstance(reply, bytes) or (isinstance(reply, Slice) and reply.size >= JOIN_BELOW_BYTES)
        for reply in replies
    )
