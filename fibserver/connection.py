"""A client's connection: bytes in, requests, replies, bytes out.

    socket ── recv ──> requests ── execute ──> output: bytes, views, answers in the making
    socket <── sendmsg ────────────────────────┘

Replies keep the order of the requests because there is one output queue; an answer that still
lacks blocks stands in it and holds back what is behind. Only the answer at the head waits for
blocks, so a client has one turn at the workers however many requests it has in flight.

Partial writes: a socket takes as many bytes as it has room for. What is left stays at the
head of the output, and only then is the connection watched for room; watching an idle socket
for room would wake the loop for ever. Reading stops while much output is pending, so a client
that never reads holds back only itself.

Closing: bytes that arrived unread make the kernel reset a closed connection, and a reset
can overtake the last reply. So the sending side is shut down first, and what still comes in
is thrown away until the peer has seen the end, or for a second.
"""

import logging
import socket
from enum import Enum
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from fibserver.answer import Answer
from fibserver.commands import execute
from fibserver.fair_queue import FairQueue
from fibserver.output import Buffer, Output
from fibserver.replay import Replay, ReplayTable
from fibserver.replies import CommandError, Slice, encode_error
from fibserver.request_parser import (
    HttpRequestError,
    ProtocolError,
    Request,
    parse_request,
)
from fibserver.session import Session
from fibserver.shared_arrays import SharedArrays
from fibserver.statistics import CommandStatistics, Statistics

__all__ = ["Connection", "ConnectionOwner"]

log = logging.getLogger(__name__)

READ_BYTES = 16 * 1024
_FAILED = EPOLLERR | EPOLLHUP


class State(Enum):
    """How far a connection has come."""

    OPEN = "requests are read and answered"
    ENDED = "the peer sends no more; what it asked is answered, then we close"
    CLOSING = "no more requests are taken; what is in the output is sent, then we close"
    LINGERING = "all is sent and our side shut; what still comes in is thrown away"
    CLOSED = "gone"


class ConnectionOwner(Protocol):
    """What a connection needs of the acceptor."""

    now: float
    """The time of this turn of the loop, monotonic, in seconds."""
    arrays: SharedArrays
    queue: FairQueue
    replay: ReplayTable
    statistics: Statistics

    def watch_for(self, connection: "Connection", events: int) -> None:
        """Watch a connection for other events than so far."""

    def send_soon(self, connection: "Connection") -> None:
        """Have `on_event` called, without an event, before the loop waits again."""

    def forget(self, connection: "Connection") -> None:
        """Unwatch a connection that is about to close its socket."""


class Connection:
    """One client's connection.

    Attributes:
        socket: non-blocking.
        session: what the client has said that matters.
        last_progress: when bytes last came or went, on the owner's clock.
        events: what the socket is watched for.
        state: how far the connection has come.
    """

    __slots__ = (
        "_is_blocked",
        "_needs_data",
        "_output",
        "_owner",
        "_received",
        "events",
        "last_progress",
        "session",
        "socket",
        "state",
    )

    def __init__(self, sock: socket.socket, session: Session, owner: ConnectionOwner) -> None:
        self.socket = sock
        self.session = session
        self.last_progress = owner.now
        self.events: int = EPOLLIN
        self.state = State.OPEN
        self._owner = owner
        self._received = b""  # not yet parsed
        self._needs_data = True  # what is received ends within a request
        self._is_blocked = False  # the socket has no room for what the output begins with
        self._output = Output()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is owed to the client."""
        return not self._output and self._needs_data

    @property
    def is_waiting(self) -> bool:
        """Whether the next bytes to send do not exist yet."""
        return self._output.answer_at_head is not None

    def on_event(self, events: int) -> None:
        """Handle what epoll reports; no events at all mean that an answer has grown."""
        try:
            if events & _FAILED:
                self.close()
            elif events & EPOLLIN:
                self._receive()
            else:
                self._advance()
        except Exception:  # a fault of ours must not end the connections of others
            log.exception("%s: closed for an internal error", self.session.address)
            self.close()

    def finish(self) -> None:
        """Take no more requests; answer what has come, then close."""
        if self.state is not State.OPEN:
            return
        self.state = State.ENDED
        if self.is_idle:
            self.close()
        else:
            self.on_event(0)

    def close(self) -> None:
        """Drop the connection at once, whatever is owed."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._output.clear()
        self._owner.forget(self)  # an epoll set must not know a closed descriptor
        self.socket.close()

    def refuse(self, message: str) -> None:
        """Answer nothing but an error, then close."""
        self._output.push([encode_error(message)])
        self.state = State.CLOSING
        self.on_event(0)

    def _advance(self) -> None:
        """Answer what is received and send what is answered, as far as both go."""
        while True:
            if not self._needs_data:
                self._answer_requests()
            self._flush()
            if self._needs_data or self._output or self.state is State.CLOSED:
                break
        if not self._output and self.state in (State.ENDED, State.CLOSING):
            self._linger()
        self._watch()

    def _linger(self) -> None:
        self.state = State.LINGERING
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()  # the peer was faster

    def _watch(self) -> None:
        """Watch for data if more requests may come, and for room if the socket is full."""
        if self.state is State.CLOSED:
            return
        reads = self.state is State.LINGERING or (
            self.state is State.OPEN and not self._output.is_full
        )
        events = (EPOLLIN if reads else 0) | (EPOLLOUT if self._is_blocked else 0)
        if events != self.events:
            self.events = events
            self._owner.watch_for(self, events)

    # From bytes to replies.

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
            self.finish()
            return
        owner = self._owner
        self.last_progress = owner.now
        owner.statistics.bytes_received += len(data)
        is_fresh = not self._received and not self._output and self.session.transaction is None
        if is_fresh and (replay := owner.replay.get(data)):
            self._send_replay(replay)
            return
        self._received += data
        self._answer_requests(learns=is_fresh)
        self._advance()

    def _answer_requests(self, learns: bool = False) -> None:
        """Answer the requests received, until one is incomplete or the output is full.

        Args:
            learns: whether the replies may be replayed when the same bytes come again.
        """
        data, position = self._received, 0
        counted: list[CommandStatistics] = []
        self._needs_data = False
        while not self._output.is_full:
            request = self._next_request(data, position)
            if request is None:
                self._needs_data = True
                break
            position = request.end
            if request.arguments:
                command = self._answer(request.arguments)
                if command is None:
                    learns = False
                else:
                    counted.append(command)
        is_whole = position == len(data)
        self._received = data[position:] if self.state is not State.CLOSING else b""
        if learns and is_whole and counted:
            replay = self._owner.replay.learn(data, self._output.take_buffers(), counted)
            self._output.push(replay.buffers)

    def _next_request(self, data: bytes, position: int) -> Request | None:
        """Parse a request; after a malformed one, or QUIT, there are no more."""
        if self.state is State.CLOSING:
            return None
        try:
            return parse_request(data, position)
        except HttpRequestError as error:
            log.warning("%s: %s", self.session.address, error)
            self._output.clear()
        except ProtocolError as error:
            log.info("%s: protocol error: %s", self.session.address, error)
            self._push_error(f"Protocol error: {error}", "ERR")
        self.state = State.CLOSING
        return None

    def _answer(self, words: list[bytes]) -> CommandStatistics | None:
        """Run one request; return what it counts as if its reply may be replayed."""
        owner, session = self._owner, self.session
        try:
            command, replies = execute(session, words)
        except CommandError as error:
            self._push_error(str(error), error.code)
            return None
        counted = owner.statistics.command(command.name)
        counted.calls += 1
        is_immutable = command.is_immutable and not session.is_in_transaction
        for reply in replies:
            if not isinstance(reply, Slice):
                self._output.push([reply])
            elif not self._push_published(reply):
                self._push_answer(reply)
                is_immutable = False
        if session.is_quitting:
            self.state = State.CLOSING
        return counted if is_immutable else None

    def _push_published(self, slice: Slice) -> bool:
        """Put a slice in the output if all of it is published."""
        array = self._owner.arrays[slice.format]
        if slice.stop > array.growth.published:
            return False
        offset = array.offset(slice.start)
        view = array.bytes_between(offset, offset + slice.size)
        self._output.push([slice.header, view, slice.trailer])
        return True

    def _push_answer(self, slice: Slice) -> None:
        """Put an answer in the making in the output, if there may be memory for it."""
        owner = self._owner
        try:
            owner.arrays.check_growth(slice.format, slice.stop)
        except CommandError as error:
            self._push_error(str(error), error.code)
            return
        array = owner.arrays[slice.format]
        answer = Answer(slice, array, owner.queue, lambda: owner.send_soon(self))
        self._output.push_answer(answer)

    def _push_error(self, message: str, code: str) -> None:
        self._owner.statistics.errors[code] += 1
        self._output.push([encode_error(message, code)])

    # From replies to bytes.

    def _send_replay(self, replay: Replay) -> None:
        """Send ready replies; the output is empty."""
        for command in replay.commands:
            command.calls += 1
        if len(replay.buffers) > 1:
            self._output.push(replay.buffers)
            self._advance()
            return
        # The way of nearly all requests: one call, and nothing is left to do.
        reply = replay.buffers[0]
        try:
            sent = self.socket.send(reply)
        except OSError:  # no room, or broken: the long way will find out which
            sent = 0
        self._owner.statistics.bytes_sent += sent
        if sent < len(reply):
            self._output.push([memoryview(reply)[sent:]])
            self._advance()

    def _flush(self) -> None:
        """Send what the output begins with, up to what one turn allows."""
        answer = self._output.answer_at_head
        if answer is not None and answer.is_broken:
            log.warning("%s: an answer broke off", self.session.address)
            self.close()
            return
        buffers = self._output.next_buffers()
        if buffers:
            self._send(buffers)
        answer = self._output.answer_at_head
        if answer is None:
            self._is_blocked = bool(self._output)
        else:
            answer.start()
            self._is_blocked = answer.is_ready

    def _send(self, buffers: list[Buffer]) -> None:
        try:
            sent = self.socket.sendmsg(buffers)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            log.debug("%s: %s", self.session.address, error)
            self.close()
            return
        if sent:
            self.last_progress = self._owner.now
            self._owner.statistics.bytes_sent += sent
            self._output.drop(sent)
