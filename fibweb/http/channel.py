"""A connection: what arrives, which lane it takes, and how the answer goes out.

Waitress parses, and its tasks talk to the application; here is decided who runs them and when,
and here is all sending. That is sound because it uses only what waitress lets a channel override,
and because of two rules. The event loop alone touches a connection: threads find out and hand
over. And a connection has one request under way: the next begins when the kernel has taken the
last byte of the answer before it, so answers keep their order and no client can pile them up.

    IDLE ──request──> replay ───────────────> SENDING ──last byte──> IDLE, or CLOSED
      └─────────────> ready ─────────────────────^ │
                        └─MustWait─> ASKING ───────┘ └─next segment─> LOADING ──> SENDING

What the application answered in one turn of the loop is sent at the turn's end. Many clients that
wait at the same time are so woken one soon after the other, which takes the kernel less than
waking each after its own while; libuv does the same.
"""

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from waitress.channel import HTTPChannel

from fibweb.answer_file import AnswerFile, MustWait
from fibweb.http.ask import Ask, Load
from fibweb.http.exchange import Exchange, RequestIds
from fibweb.http.plain import PlainRequest
from fibweb.http.ready import respond
from fibweb.http.replay import Replay, Replays
from fibweb.http.request import Request
from fibweb.http.response import MAX_VIEWS, Outgoing, Response

__all__ = ["Channel", "Lanes"]

RECEIVE_BYTES = 8192
"""At a time; requests are far smaller."""

QUIET_SECONDS = 0.5
"""When the server ends: a client that says nothing for this long is taken not to be about to."""


class State(Enum):
    """What a connection is doing."""

    IDLE = auto()  # reads, and begins with the next request
    ASKING = auto()  # a thread runs the application
    SENDING = auto()
    LOADING = auto()  # a thread fetches the next segment
    CLOSED = auto()


@dataclass(slots=True)
class Lanes:
    """What the connections of a server have in common.

    Attributes:
        on_response: is told of each answered request.
        replays: what has been answered.
        request_ids: names requests.
        is_draining: whether the server is about to end, so that no request comes after this one.
    """

    on_response: Callable[[Exchange], None]
    replays: Replays
    request_ids: RequestIds
    is_draining: bool = False


class Channel(HTTPChannel):
    """One client's connection."""

    parser_class = Request
    server: Any
    requests: Any  # of Request and PlainRequest, in the order of their arrival
    request: Request | None
    addr: Any
    socket: Any
    _fileno: Any

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        """Take over a connection that was just accepted, as waitress hands it over."""
        super().__init__(server, sock, addr, adj, map)
        self.lanes: Lanes = server.lanes
        self.written: list[Any] = []
        self._state = State.IDLE
        self._progress = self._began = time.monotonic()
        self._bytes = b""  # of the request under way, if it came whole and alone
        self._lane = ""
        self._request_id = ""
        self._response: Response | None = None
        self._outgoing: Outgoing | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing has arrived that has not been answered."""
        return self._state is State.IDLE and not self.requests and self.request is None

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""
        return self._state in (State.ASKING, State.SENDING, State.LOADING)

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has been waited for too long.

        That is: for a request, for the rest of one, or until it took some more of an answer.

        Args:
            now: monotonic.
        """
        is_waiting = self._state in (State.IDLE, State.SENDING)
        return is_waiting and now - self._progress > self.adj.channel_timeout

    def readable(self) -> bool:
        """Return whether more requests are wanted."""
        return self._state is State.IDLE and super().readable()

    def writable(self) -> bool:
        """Return whether there is something to do as soon as the socket takes bytes."""
        if self._state is State.IDLE:
            return bool(self.requests) or super().writable()
        return self._state is State.SENDING

    def handle_read(self) -> None:
        """Receive what has arrived, and answer a request seen before."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.handle_close()
            return
        if self.request is None:
            self._progress = self._began = time.monotonic()
            self._bytes = data
            replay = self.lanes.replays.find(data)
            if replay is not None and self._replay(replay):
                return
            plain = self.server.plain_requests.find(data)
            if plain is not None:
                self.requests.append(plain)
                self._serve()
                return
        else:
            self._bytes = b""
        self.received(data)
        if len(self.requests) > 1 or self.request is not None:
            self._bytes = b""
        self._proceed()

    def handle_write(self) -> None:
        """Go on with the answer under way, or begin with the next request."""
        if self._state is State.IDLE and (self.total_outbufs_len or self.will_close):
            super().handle_write()  # "100 Continue"
        self._proceed()

    def write_soon(self, data: Any) -> int:
        """Take a piece of an answer that waitress makes; it is sent when all are there."""
        self.written.append(data)
        return len(data)

    def begin(self, response: Response) -> None:
        """Begin to send the answer that a thread has found out.

        Args:
            response: to the request under way.
        """
        if self._state is State.ASKING:
            self._begin(response)

    def go_on(self) -> None:
        """Send the segment that a thread has fetched."""
        if self._state is State.LOADING:
            self._state = State.SENDING
            self._proceed()

    def break_off(self) -> None:
        """Close the connection with the answer unfinished, which its client will notice."""
        self.handle_close()

    def leave(self) -> None:
        """Close the connection if nothing is under way; what has just arrived is answered.

        So is what may be on its way: who has asked or been answered a moment ago gets a little
        time for another request, which is answered as the last one. It would be lost otherwise.
        """
        if self.is_idle:
            self.handle_read()
        if self.is_idle and time.monotonic() - self._progress >= QUIET_SECONDS:
            self.handle_close()

    def handle_close(self) -> None:
        """Close the connection, whatever is under way."""
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            super().handle_close()
            self._report(self._outgoing.sent if self._outgoing else 0)

    def _replay(self, replay: Replay) -> bool:
        """Give an answer again, unless something it takes is no longer in memory."""
        lanes, response = self.lanes, replay.response
        if lanes.is_draining:
            return False  # its header does not say that the connection ends
        views = () if response.file is None else response.file.cached()
        if views is None:
            return False
        self._lane = "replay"
        self._request_id = response.exchange.request_id or lanes.request_ids.fresh()
        self._response = response
        self._send_first(replay.data(int(time.time())), views, None)
        self._watch()
        return True

    def _proceed(self) -> None:
        """Do what can be done now, and say what is to be waited for."""
        if self._state is State.IDLE and self.requests and not self.total_outbufs_len:
            self._serve()
            return
        if self._outgoing is not None:
            self._send_more()
        self._watch()

    def _watch(self) -> None:
        """Say what is to be waited for."""
        if self._state is State.CLOSED:
            return
        is_resting = self._state is State.IDLE and not self.requests
        if is_resting and not self.total_outbufs_len and not self.will_close:
            self.server.loop.want(self._fileno, select.EPOLLIN)  # as `watch` would find out
        else:
            self.server.loop.watch(self._fileno)

    def _serve(self) -> None:
        """Run the next request here, unless it has to wait."""
        request: Request | PlainRequest = self.requests[0]
        request.id = self.lanes.request_ids.choose(request.proposed_id)
        if self._bytes and request.is_usual and isinstance(request, Request):
            self.server.plain_requests.learn(self._bytes, request.template(self))
        try:
            response = respond(self, request, may_wait=False)
        except MustWait:
            self._state = State.ASKING
            self._lane = "ask"
            self.server.task_dispatcher.add_task(Ask(self, request))
            self._watch()
        else:
            self._lane = "ready"
            self._begin(response)

    def _begin(self, response: Response) -> None:
        request = self.requests.pop(0)
        request.close()
        if self._bytes and response.is_replayable:
            self.lanes.replays.learn(self._bytes, response)
        self._request_id = request.id
        self._response = response
        self._state = State.SENDING
        self.server.loop.at_end_of_turn(self._send_response)

    def _send_response(self) -> None:
        """Begin to send what was answered in this turn."""
        response = self._response
        if self._state is State.SENDING and response is not None:
            data, file = response.header + response.body, response.file
            if file is not None and file.is_all_at_hand:
                self._send_first(data, file.take(), None)
            else:
                self._send_first(data, (), file)
            self._watch()

    def _send_first(
        self, data: bytes, views: Sequence[memoryview], file: AnswerFile | None
    ) -> None:
        """Begin to send; most answers are taken by the kernel at once."""
        sent = 0
        if file is None and len(views) < MAX_VIEWS:
            try:
                sent = self.socket.sendmsg((data, *views)) if views else self.socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.handle_close()
                return
            if sent == len(data) + sum(map(len, views)):
                self._finish(sent)
                return
        self._state = State.SENDING
        self._outgoing = Outgoing(data, views, file, sent)
        self._send_more()

    def _send_more(self) -> None:
        """Send what the socket takes, and have what is missing fetched."""
        outgoing = self._outgoing
        assert outgoing is not None
        before = outgoing.sent
        try:
            outgoing.send(self.socket)
        except OSError:
            self.handle_close()
            return
        if outgoing.sent > before:
            self._progress = time.monotonic()
        if outgoing.is_sent:
            self._finish(outgoing.sent)
        elif outgoing.missing is not None:
            self._state = State.LOADING
            self.server.task_dispatcher.add_task(Load(self, outgoing.missing))

    def _finish(self, sent: int) -> None:
        """See to the end of an answer.

        Args:
            sent: how many bytes it had, with its header.
        """
        response, request = self._response, self.request
        self._state = State.IDLE
        self._report(sent)
        if response is not None and response.closes:
            self.handle_close()
        elif (
            not self.requests
            and request is not None
            and request.expect_continue
            and request.headers_finished
            and not self.sent_continue
        ):
            self.send_continue()  # it had to wait for the answer before it

    def _report(self, sent: int) -> None:
        """Let go of the answer under way, which is over, and tell of it."""
        response, outgoing = self._response, self._outgoing
        self._response = self._outgoing = None
        self._progress = time.monotonic()
        if outgoing is not None:
            outgoing.close()
        if response is not None:
            exchange = response.exchange.finished(
                max(0, sent - len(response.header)),
                self._progress - self._began,
                self.addr[0],
                self._request_id,
                self._lane,
            )
            self.lanes.on_response(exchange)
