"""A client's connection: a socket, and the conversation over it.

    socket ── recv ──> conversation ──> output: bytes and answers under way
    socket <── sendmsg ────────────────────┘

An answer that still lacks blocks stands in the output and holds back what is behind. Only the
answer at the head waits for blocks, so a client has one turn at the workers however many
requests it has in flight.

Loop time: a client is served for one slice, then the others are (`fibserver.core.overload`). What
is left waits in the owner's queue, and so does an event that comes when a turn has used up its
time.

Partial writes: a socket takes as many bytes as it has room for. What is left stays at the
head of the output, and only then is the connection watched for room; watching an idle socket
for room would wake the loop for ever. Reading stops while much output is pending, so a client
that never reads holds back only itself.

Closing: bytes that arrived unread make the kernel reset a closed connection, and a reset
can overtake the last reply. So the sending side is shut down first, and what still comes in
is thrown away until the peer has seen the end, or for a second.
"""

import contextlib
import logging
import socket
from enum import Enum
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from fibcommon.service.admission import ReadingPace, unacknowledged_bytes
from fibserver.commands.session import Session
from fibserver.core.overload import OutputTotal
from fibserver.engine.slice_stream import Buffer
from fibserver.network.output import MAX_SEND_BYTES
from fibserver.network.reply_cache import CachedReply
from fibserver.network.request_handler import ConversationOwner, RequestHandler
from fibserver.protocol.reply_encoding import Slice

__all__ = ["Connection", "ConnectionOwner", "State"]

log = logging.getLogger(__name__)

READ_BYTES = 16 * 1024
INFINITY = float("inf")
_FAILED = EPOLLERR | EPOLLHUP


class State(Enum):
    """How far a connection has come."""

    OPEN = "requests are read and answered"
    ENDED = "the peer sends no more; what it asked is answered, then we close"
    DRAINING = "we take no more; what has come is answered, then we close"
    CLOSING = "no more requests are taken; what is in the output is sent, then we close"
    LINGERING = "all is sent and our side shut; what still comes in is thrown away"
    CLOSED = "gone"


_ENDING = (State.ENDED, State.DRAINING, State.CLOSING)


class ConnectionOwner(ConversationOwner, Protocol):
    """What a connection needs of the acceptor."""

    output_total: OutputTotal

    def want_events(self, connection: "Connection", events: int) -> None:
        """Watch a connection for other events than so far."""

    def serve_later(self, connection: "Connection", *, is_busy: bool = False) -> None:
        """Queue a connection; `on_event` is called with its `queued_events` in its turn.

        Args:
            connection: which one.
            is_busy: whether it has used up a slice.
        """

    def release_later(self, connection: "Connection") -> None:
        """Call `release` after the delay of a failed authentication."""

    def note_waiting(self, change: int) -> None:
        """Note that so many more connections wait for workers."""

    def forget(self, connection: "Connection") -> None:
        """Unwatch a connection that is about to close its socket."""


class Connection:
    """One client's connection.

    Attributes:
        socket: non-blocking.
        session: what the client has said that matters.
        conversation: what it says, and what it is answered.
        connected_at: when it came, on the owner's clock.
        last_progress: when bytes last came or went, on the owner's clock.
        events: what the socket is watched for.
        state: how far the connection has come.
        queued_events: what epoll reported while the connection waited for its turn.
        queued_since: since when it waits for its turn, 0 if it does not.
        is_waiting: whether the next bytes to send do not exist yet.
        blocked_since: since when the peer has taken nothing; infinite if the socket is not full.
        pace: how fast the peer reads, while the socket is full.
        held_bytes: how many bytes of memory the output takes.
    """

    __slots__ = (
        "_acknowledged_bytes",
        "_is_blocked",
        "_output",
        "_owner",
        "_sent_bytes",
        "blocked_since",
        "connected_at",
        "conversation",
        "events",
        "held_bytes",
        "is_waiting",
        "last_progress",
        "pace",
        "queued_events",
        "queued_since",
        "session",
        "socket",
        "state",
    )

    def __init__(self, sock: socket.socket, session: Session, owner: ConnectionOwner) -> None:
        self.socket = sock
        self.session = session
        self.conversation = RequestHandler(session, owner, self)
        self.connected_at = self.last_progress = owner.loop.now
        self.events: int = EPOLLIN
        self.state = State.OPEN
        self.queued_events = 0
        self.queued_since = 0.0
        self.held_bytes = 0
        self.is_waiting = False
        self.blocked_since = INFINITY
        self.pace: ReadingPace | None = None
        self._owner = owner
        self._output = self.conversation.output
        self._is_blocked = False  # the socket has no room for what the output begins with
        self._sent_bytes = 0  # while output was pending
        self._acknowledged_bytes = 0  # of those, when that was last measured

    @property
    def is_idle(self) -> bool:
        """Whether nothing is owed to the client."""
        return not self._output and self.conversation.needs_data

    @property
    def idle_since(self) -> float | None:
        """Since when nothing is owed to the client, None if it is being served.

        That a failed authentication is answered late does not keep a connection from being idle.
        """
        if self.state is not State.OPEN or self.queued_since:
            return None
        is_idle = self.is_idle or self.conversation.held_error is not None
        return self.last_progress if is_idle else None

    @property
    def bytes_per_second(self) -> float:
        """How fast the peer reads if that is slow; infinite if not, or if it is not yet known."""
        return self.pace.bytes_per_second if self.pace and self.pace.is_slow else INFINITY

    def sample_pace(self) -> None:
        """Measure how fast the peer reads, if it is slower than what is sent."""
        if not self._is_blocked:
            return
        try:
            acknowledged = self._sent_bytes - unacknowledged_bytes(self.socket)
        except OSError:
            return  # it is broken, and epoll is about to say so
        now = self._owner.loop.now
        if self.pace is None:
            self.pace = ReadingPace(now, acknowledged)
        else:
            self.pace.sample(now, acknowledged)
            if acknowledged > self._acknowledged_bytes:
                self.blocked_since = now
        self._acknowledged_bytes = acknowledged

    def on_event(self, events: int, *, may_queue: bool = True) -> None:
        """Handle what epoll reports; no events at all mean that there is more to send or to do.

        Args:
            events: what epoll reports.
            may_queue: whether it may wait until others have been served.
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
            log.warning("%s: closed for want of memory", self.session.address)
        except Exception:  # a fault of ours must not end the connections of others
            log.exception("%s: closed for an internal error", self.session.address)
            self.close()

    def on_answer_ready(self) -> None:
        """Send what has come, as soon as others have been served."""
        self._owner.serve_later(self)

    def release(self) -> None:
        """Go on after a failed authentication."""
        self.conversation.release()
        self.on_event(0)

    # How it ends.

    def finish(self, state: State = State.DRAINING) -> None:
        """Take no more requests; answer what has come, then close.

        Args:
            state: what to be meanwhile.
        """
        if self.state is not State.OPEN:
            return
        self.state = state
        if state is State.DRAINING and self.is_idle:
            # A request may have come in this very moment.
            self.on_event(EPOLLIN, may_queue=False)
        if self.state is not state:
            return
        if self.is_idle:
            self.close()
        else:
            self.on_event(0, may_queue=False)

    def abandon(self, message: str, code: str) -> None:
        """Close, but first turn an answer that has not begun into an error."""
        answer = self._output.stream_at_head
        if answer is not None and not answer.has_begun:
            answer.fail(message, code)
            self.on_event(0, may_queue=False)
        self.close()

    def give_up(self, timeout_seconds: float) -> None:
        """End what has made no progress for too long: the answer if it is ours, or all."""
        answer = self._output.stream_at_head
        if answer is None or answer.has_begun or answer.is_ready:
            self.close()
            return
        self.last_progress = self._owner.loop.now
        answer.fail(f"no worker had time for it within {timeout_seconds:g} s: try again", "BUSY")

    def refuse(self, message: str, code: str = "ERR") -> None:
        """Answer nothing but an error, then close."""
        self.conversation.push_error(message, code)
        self.state = State.CLOSING
        self.on_event(0, may_queue=False)

    def close(self) -> None:
        """Drop the connection at once, whatever is owed."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        if self.is_waiting:
            self._set_waiting(False)
        self.conversation.end()
        self._count_output()
        self._owner.forget(self)  # an epoll set must not know a closed descriptor
        self.socket.close()

    def _linger(self) -> None:
        self.state = State.LINGERING
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()  # the peer was faster

    # What comes.

    def _receive(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("%s: %s", self.session.address, error)
            self.close()
            return
        if self.state is State.LINGERING:
            if not data:
                self.close()
            return
        if not data:
            self.finish(State.ENDED)
            return
        owner = self._owner
        self.last_progress = owner.loop.now
        owner.statistics.bytes_received += len(data)
        replay = self.conversation.replay_of(data)
        if replay is None:
            self.conversation.receive(data)
            self._advance()
        else:
            self._send_replay(replay)
            self.conversation.record_replay(data, replay)

    def _advance(self) -> None:
        """Answer what is received and send what is answered, as far as both go."""
        conversation, output = self.conversation, self._output
        budget = self._owner.loop.budget
        budget.start_slice()
        while True:
            if not conversation.needs_data:
                conversation.answer_requests()
            if conversation.is_over and self.state is State.OPEN:
                self.state = State.CLOSING
            self._flush()
            if conversation.needs_data or output.pieces or self.state is State.CLOSED:
                break
            if conversation.held_error is not None:
                break
            if budget.is_slice_over:
                self._owner.serve_later(self, is_busy=True)
                break
        if output.pieces or self.held_bytes:
            self._count_output()
        if conversation.held_error is not None and self.state is not State.CLOSED:
            self._owner.release_later(self)
        if self.state is not State.OPEN and self.state in _ENDING and self.is_idle:
            self._linger()
        self._watch()

    def _count_output(self) -> None:
        """Count what the output has come to hold, or holds no more."""
        held = self._output.held_bytes
        self._owner.output_total.held_bytes += held - self.held_bytes
        self.held_bytes = held

    def _watch(self) -> None:
        """Watch for data if more requests may come, and for room if the socket is full.

        While requests wait for room in the output no more are read: else a client that sends
        short requests for long replies, and reads some, would have us hold ever more of them.
        """
        if self.state is State.CLOSED:
            return
        reads = self.state is State.LINGERING or (
            self.state is State.OPEN and self.conversation.needs_data and not self._output.is_full
        )
        events = (EPOLLIN if reads else 0) | (EPOLLOUT if self._is_blocked else 0)
        if events == self.events:
            return
        self.events = events
        try:
            self._owner.want_events(self, events)
        except OSError as error:  # the kernel has no memory for it
            log.warning("%s: closed, cannot be watched: %s", self.session.address, error)
            self.close()

    # What goes.

    def _send_replay(self, replay: CachedReply) -> None:
        """Send the replies to requests that were answered before; the output is empty."""
        ready = replay.ready
        if ready:
            # The way of nearly all requests: one call, and nothing is left to do.
            try:
                sent = self.socket.send(ready)
            except OSError:  # no room, or broken: the long way will find out which
                sent = 0
            self._owner.statistics.bytes_sent += sent
            if sent < len(ready):
                self._output.push(memoryview(ready)[sent:])
                self._advance()
        elif len(replay.replies) == 1 and isinstance(replay.replies[0], Slice):
            self._send_slice(replay.replies[0])
        else:
            self.conversation.push_replay(replay)
            self._advance()

    def _send_slice(self, slice: Slice) -> None:
        """Send a large reply; the output is empty."""
        sent = 0
        view = self.conversation.published(slice) if slice.size <= MAX_SEND_BYTES else None
        if view is not None:
            with contextlib.suppress(OSError):  # as above
                sent = self.socket.sendmsg([slice.header, view, slice.trailer])
            self._owner.statistics.bytes_sent += sent
            if sent == len(slice.header) + slice.size + len(slice.trailer):
                return
        answer = self.conversation.push_stream(slice)
        if sent:
            answer.drop(sent)
        self._advance()

    def _flush(self) -> None:
        """Send what the output begins with, up to what one turn allows."""
        answer = self._output.stream_at_head
        if answer is not None:
            if answer.is_broken:
                log.warning("%s: an answer broke off", self.session.address)
                self.close()
                return
            answer.sends_header_early = self.state is State.ENDED
            answer.start(self._owner.loop.now)
        buffers = self._output.next_buffers()
        if buffers:
            self._send(buffers)
        answer = self._output.stream_at_head
        if answer is None:
            is_blocked = bool(self._output.pieces)
        else:
            answer.start(self._owner.loop.now)  # so that the rest is computed while this is sent
            is_blocked = answer.is_ready
        if is_blocked is not self._is_blocked:
            self._is_blocked = is_blocked
            self.blocked_since = self._owner.loop.now if is_blocked else INFINITY
            self.pace = None
        is_waiting = answer is not None and not is_blocked
        if is_waiting is not self.is_waiting:
            self._set_waiting(is_waiting)

    def _set_waiting(self, is_waiting: bool) -> None:
        self.is_waiting = is_waiting
        self._owner.note_waiting(1 if is_waiting else -1)

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
        self._output.drop(sent)
