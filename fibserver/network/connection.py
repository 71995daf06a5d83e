"""Client connection: one socket, its request handler and its output.

    socket ── recv ──> request handler ──> output: bytes and slice streams
    socket <── sendmsg ───────────────────────┘

A slice stream that still lacks blocks holds back everything queued after it. Only the stream at
the head of the output requests blocks, so a client occupies one place in the workers' queue,
however many requests it pipelines.

Loop time: a client is served for one time slice, then the others are
(`fibserver.core.client_limits`). A connection with work left is queued with its owner, and so is
one with an event for which the loop iteration has no time left.

Partial writes: a socket accepts as many bytes as its buffer has room for. The rest stays at the
head of the output, and only then is the connection registered for EPOLLOUT: an idle socket is
always writable and would wake the loop continuously. Reading pauses while much output is pending,
so a client that never reads delays only itself.

Closing: the kernel resets a connection that is closed with unread bytes, and a reset can overtake
the last reply. So the sending side is shut down first, and input is discarded until the peer
closes its side, for at most a second.
"""

import contextlib
import logging
import socket
from enum import Enum
from functools import partial
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from fibcommon.service.admission import ReadRate, unacknowledged_bytes
from fibserver.commands.session import Session
from fibserver.core.client_limits import OutputTotal
from fibserver.engine.stream import Buffer
from fibserver.network.output_queue import MAX_SEND_BYTES
from fibserver.network.reply_cache import CachedReply
from fibserver.network.request_handler import HandlerContext, RequestHandler
from fibserver.protocol.reply_encoding import Slice

__all__ = ["ClientConnection", "ConnectionOwner", "ConnectionState"]

log = logging.getLogger(__name__)

READ_BYTES = 16 * 1024
INFINITY = float("inf")
_FAILED = EPOLLERR | EPOLLHUP


class ConnectionState(Enum):
    """Lifecycle state of a connection."""

    OPEN = "requests are read and answered"
    ENDED = "the peer has shut down its side; its requests are answered, then we close"
    DRAINING = "the server is stopping; received requests are answered, then we close"
    CLOSING = "no more requests are executed; the output is sent, then we close"
    LINGERING = "all output is sent and our side is shut down; input is discarded"
    CLOSED = "the socket is closed"


_ENDING = (ConnectionState.ENDED, ConnectionState.DRAINING, ConnectionState.CLOSING)


class ConnectionOwner(HandlerContext, Protocol):
    """Interface that a connection requires of its owner."""

    output_total: OutputTotal

    def want_events(self, connection: "ClientConnection", events: int) -> None:
        """Change the epoll events that a connection is registered for."""

    def serve_later(self, connection: "ClientConnection", *, is_busy: bool = False) -> None:
        """Queue a connection; the owner calls `on_event` with its `queued_events` later.

        Args:
            connection: The connection.
            is_busy: Whether it has used up a time slice.
        """

    def delay_error(self, connection: "ClientConnection") -> None:
        """Call `send_delayed_error` of the connection after `AUTH_DELAY_SECONDS`."""

    def count_waiting(self, change: int) -> None:
        """Add `change` to the number of connections that wait for workers."""

    def unregister(self, connection: "ClientConnection") -> None:
        """Unregister a connection that is about to close its socket."""


class ClientConnection:
    """One client's connection.

    Attributes:
        socket: The non-blocking socket.
        session: The client's protocol state.
        handler: The request handler, which owns the output.
        connected_at: When the connection was accepted, on the loop's clock.
        last_progress: When bytes were last received or sent, on the loop's clock.
        events: The epoll events that the socket is registered for.
        state: The lifecycle state.
        queued_events: Events that epoll reported while the connection was queued.
        queued_since: When the connection was queued, 0 if it is not.
        is_waiting: Whether the next bytes to send are not computed yet.
        blocked_since: Since when the peer has read nothing; infinite if the socket is not full.
        read_rate: Measures how fast the peer reads while the socket is full, else None.
        held_bytes: Bytes of memory that the output takes.
    """

    __slots__ = (
        "_acknowledged_bytes",
        "_is_blocked",
        "_output",
        "_owner",
        "_sent_bytes",
        "blocked_since",
        "connected_at",
        "events",
        "handler",
        "held_bytes",
        "is_waiting",
        "last_progress",
        "queued_events",
        "queued_since",
        "read_rate",
        "session",
        "socket",
        "state",
    )

    def __init__(self, sock: socket.socket, session: Session, owner: ConnectionOwner) -> None:
        """Take over a socket that its owner registers for EPOLLIN.

        Args:
            sock: The non-blocking socket.
            session: The client's protocol state.
            owner: Provides the event loop and what connections share.
        """
        self.socket = sock
        self.session = session
        self.handler = RequestHandler(session, owner, partial(owner.serve_later, self))
        self.connected_at = self.last_progress = owner.loop.now
        self.events: int = EPOLLIN
        self.state = ConnectionState.OPEN
        self.queued_events = 0
        self.queued_since = 0.0
        self.held_bytes = 0
        self.is_waiting = False
        self.blocked_since = INFINITY
        self.read_rate: ReadRate | None = None
        self._owner = owner
        self._output = self.handler.output
        self._is_blocked = False  # the socket has no room for the head of the output
        self._sent_bytes = 0  # from the output; cached replies are often sent without it
        self._acknowledged_bytes = 0  # of those, at the last measurement

    @property
    def is_idle(self) -> bool:
        """Whether no complete request and no output is pending."""
        return not self._output and self.handler.needs_data

    @property
    def idle_since(self) -> float | None:
        """When the connection became idle, None if it is being served.

        A connection whose failed authentication is still unanswered counts as idle.
        """
        if self.state is not ConnectionState.OPEN or self.queued_since:
            return None
        is_idle = self.is_idle or self.handler.delayed_error is not None
        return self.last_progress if is_idle else None

    @property
    def bytes_per_second(self) -> float:
        """Rate at which the peer reads if it is slow; infinite if it is not, or is unknown."""
        return (
            self.read_rate.bytes_per_second
            if self.read_rate and self.read_rate.is_slow
            else INFINITY
        )

    def sample_read_rate(self) -> None:
        """Measure how fast the peer reads, if the socket is full."""
        if not self._is_blocked:
            return
        try:
            acknowledged = self._sent_bytes - unacknowledged_bytes(self.socket)
        except OSError:
            return  # the connection is broken, which epoll will report
        now = self._owner.loop.now
        if self.read_rate is None:
            self.read_rate = ReadRate(now, acknowledged)
        else:
            self.read_rate.sample(now, acknowledged)
            if acknowledged > self._acknowledged_bytes:
                self.blocked_since = now
        self._acknowledged_bytes = acknowledged

    def on_event(self, events: int, *, may_queue: bool = True) -> None:
        """Handle epoll events, or continue to execute requests and send output.

        Args:
            events: Events that epoll reported; 0 to continue without any.
            may_queue: Whether the events may wait until other connections have been served.
        """
        if may_queue and (self.queued_since or self._owner.loop.budget.is_spent):
            self.queued_events |= events
            self._owner.serve_later(self)
            return
        try:
            if events & _FAILED:
                self.close()
            elif events & EPOLLIN:
                self._receive()
            else:
                self._advance()
        except MemoryError:
            self.close()
            log.warning("%s: closed, out of memory", self.session.address)
        except Exception:  # a bug must not affect the other connections
            log.exception("%s: closed after an internal error", self.session.address)
            self.close()

    def send_delayed_error(self) -> None:
        """Send the delayed error of a failed authentication, and continue."""
        self.handler.send_delayed_error()
        self.on_event(0)

    # Closing.

    def drain(self, state: ConnectionState = ConnectionState.DRAINING) -> None:
        """Stop reading requests, answer those received, then close.

        Args:
            state: The state until then: `DRAINING` or `ENDED`.
        """
        if self.state is not ConnectionState.OPEN:
            return
        self.state = state
        if state is ConnectionState.DRAINING and self.is_idle:
            # A request may have arrived that epoll has not reported yet.
            self.on_event(EPOLLIN, may_queue=False)
        if self.state is not state:
            return
        if self.is_idle:
            self.close()
        else:
            self.on_event(0, may_queue=False)

    def close_with_error(self, message: str, code: str) -> None:
        """Close the connection; if its next reply still waits for blocks, send an error first."""
        stream = self._output.stream_at_head
        if stream is not None and not stream.has_begun:
            stream.fail(message, code)
            self.on_event(0, may_queue=False)
        self.close()

    def time_out(self, timeout_seconds: float) -> None:
        """Time out: fail a reply that waits for its first block, otherwise close the connection.

        Args:
            timeout_seconds: The timeout, for the error message.
        """
        stream = self._output.stream_at_head
        if stream is None or stream.has_begun or stream.is_ready:
            self.close()
            return
        self.last_progress = self._owner.loop.now
        stream.fail(f"no worker was free within {timeout_seconds:g} s: try again", "BUSY")

    def reject(self, message: str, code: str = "ERR") -> None:
        """Send an error reply, then close."""
        self.handler.push_error(message, code)
        self.state = ConnectionState.CLOSING
        self.on_event(0, may_queue=False)

    def close(self) -> None:
        """Close the socket at once and discard pending output."""
        if self.state is ConnectionState.CLOSED:
            return
        self.state = ConnectionState.CLOSED
        if self.is_waiting:
            self._set_waiting(False)
        self.handler.end()
        self._count_output()
        self._owner.unregister(self)  # epoll must not hold a closed descriptor
        self.socket.close()

    def _linger(self) -> None:
        self.state = ConnectionState.LINGERING
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()  # the peer has disconnected already

    # Receiving.

    def _receive(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("%s: %s", self.session.address, error)
            self.close()
            return
        if self.state is ConnectionState.LINGERING:
            if not data:
                self.close()
            return
        if not data:
            self.drain(ConnectionState.ENDED)
            return
        owner = self._owner
        self.last_progress = owner.loop.now
        owner.statistics.bytes_received += len(data)
        cached = self.handler.find_cached(data)
        if cached is None:
            self.handler.receive(data)
            self._advance()
        else:
            self._send_cached(cached)
            self.handler.record_cached(data, cached)

    def _advance(self) -> None:
        """Execute received requests and send output until data, room or time run out."""
        handler, output = self.handler, self._output
        budget = self._owner.loop.budget
        budget.start_slice()
        while True:
            if not handler.needs_data:
                handler.execute_requests()
            if handler.is_over and self.state is ConnectionState.OPEN:
                self.state = ConnectionState.CLOSING
            self._flush()
            if handler.needs_data or output.is_full or self.state is ConnectionState.CLOSED:
                break
            if handler.delayed_error is not None:
                break
            if budget.is_slice_over:
                self._owner.serve_later(self, is_busy=True)
                break
        if output.pieces or self.held_bytes:
            self._count_output()
        if handler.delayed_error is not None and self.state is not ConnectionState.CLOSED:
            self._owner.delay_error(self)
        if self.state is not ConnectionState.OPEN and self.state in _ENDING and self.is_idle:
            self._linger()
        self._watch()

    def _count_output(self) -> None:
        """Update the total memory of all output."""
        held = self._output.held_bytes
        self._owner.output_total.held_bytes += held - self.held_bytes
        self.held_bytes = held

    def _watch(self) -> None:
        """Register for EPOLLIN if more requests may be read, for EPOLLOUT if the socket is full.

        Nothing is read while requests wait for room in the output: otherwise a client that sends
        short requests for long replies, and reads slowly, would fill the memory with requests.
        """
        if self.state is ConnectionState.CLOSED:
            return
        reads = self.state is ConnectionState.LINGERING or (
            self.state is ConnectionState.OPEN
            and self.handler.needs_data
            and not self._output.is_full
        )
        events = (EPOLLIN if reads else 0) | (EPOLLOUT if self._is_blocked else 0)
        if events == self.events:
            return
        self.events = events
        try:
            self._owner.want_events(self, events)
        except OSError as error:  # the kernel is out of memory
            log.warning("%s: closed, cannot register with epoll: %s", self.session.address, error)
            self.close()

    # Sending.

    def _send_cached(self, cached: CachedReply) -> None:
        """Send cached replies; the output is empty."""
        ready = cached.ready
        if ready:
            # The usual case: one system call sends everything.
            try:
                sent = self.socket.send(ready)
            except OSError:  # full or broken: `_advance` distinguishes them
                sent = 0
            self._owner.statistics.bytes_sent += sent
            if sent < len(ready):
                self._output.push(memoryview(ready)[sent:])
                self._advance()
        elif len(cached.replies) == 1 and isinstance(cached.replies[0], Slice):
            self._send_slice(cached.replies[0])
        else:
            self.handler.push_cached(cached)
            self._advance()

    def _send_slice(self, slice: Slice) -> None:
        """Send a slice, directly from the array if possible; the output is empty."""
        sent = 0
        view = self.handler.published(slice) if slice.size <= MAX_SEND_BYTES else None
        if view is not None:
            with contextlib.suppress(OSError):  # as above
                sent = self.socket.sendmsg([slice.header, view, slice.trailer])
            self._owner.statistics.bytes_sent += sent
            if sent == len(slice.header) + slice.size + len(slice.trailer):
                return
        stream = self.handler.push_stream(slice)
        if sent:
            stream.consume(sent)
        self._advance()

    def _flush(self) -> None:
        """Send the head of the output, at most `MAX_SEND_BYTES`."""
        stream = self._output.stream_at_head
        if stream is not None:
            if stream.is_broken:
                log.warning("%s: closed, a reply failed after it had begun", self.session.address)
                self.close()
                return
            stream.sends_header_early = self.state is ConnectionState.ENDED
            stream.start(self._owner.loop.now)
        buffers = self._output.next_buffers()
        if buffers:
            self._send(buffers)
        stream = self._output.stream_at_head
        if stream is None:
            is_blocked = bool(self._output.pieces)
        else:
            stream.start(self._owner.loop.now)  # so that the rest is computed while this is sent
            is_blocked = stream.is_ready
        if is_blocked is not self._is_blocked:
            self._is_blocked = is_blocked
            self.blocked_since = self._owner.loop.now if is_blocked else INFINITY
            self.read_rate = None
        is_waiting = stream is not None and not is_blocked
        if is_waiting is not self.is_waiting:
            self._set_waiting(is_waiting)

    def _set_waiting(self, is_waiting: bool) -> None:
        self.is_waiting = is_waiting
        self._owner.count_waiting(1 if is_waiting else -1)

    def _send(self, buffers: list[Buffer]) -> None:
        try:
            sent = self.socket.sendmsg(buffers)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("%s: %s", self.session.address, error)
            self.close()
            return
        self.last_progress = self._owner.loop.now
        if self._is_blocked:
            self.blocked_since = self.last_progress
        self._sent_bytes += sent
        self._owner.statistics.bytes_sent += sent
        self._output.consume(sent)
