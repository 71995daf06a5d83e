"""A connection: what arrives, which handling it takes, and how the answer goes out.

Waitress parses, and its tasks talk to the application; here is decided who runs them and when,
and here is all sending. That is sound because it uses only what waitress lets a channel override,
and because of two rules. The event loop alone touches a connection: threads fetch, and their
results come back to the loop. And a connection has one request under way: the next begins when the
kernel has taken the last byte of the answer before it, so answers keep their order and no client
can pile them up.

    IDLE ──request──> replay ────────────────────────────> SENDING ──last byte──> IDLE, or CLOSED
      └─> READY ────> application ────────────────────────────^ │
            ^              └─WouldBlock─> WAITING ──fetched──┐   └─next piece─> LOADING ──> SENDING
            └────────────────────────────────────────────────┘

A connection that is closed with bytes unread is reset, and the reset may overtake the answer. So
after the last answer, if the client may still be sending, what comes is dropped for some seconds
(LINGERING; RFC 9112, 9.6).

What the application answered in one turn of the loop is sent at the turn's end. Many clients that
wait at the same time are so woken one soon after the other, which takes the kernel less than
waking each after its own while; libuv does the same.

A client that ends its side of the connection while its request waits has left, as nginx has it:
its request is dropped. Whatever is in memory is answered all the same.
"""

import fcntl
import logging
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from waitress.channel import HTTPChannel

from fibcommon.service.admission import ReadingPace, unacknowledged_bytes
from fibweb.content.answer_file import PIECE_BYTES, SMALL_PIECE_BYTES, AnswerFile
from fibweb.content.fetch import Fetch, WouldBlock
from fibweb.overload.admission import Admission
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.fetcher import Fetcher
from fibweb.server.inline_path import respond
from fibweb.server.parsed_headers import CachedHeaderRequest
from fibweb.server.request import Request
from fibweb.server.request_context import RequestContext
from fibweb.server.response import MAX_VIEWS, Outgoing, Response
from fibweb.server.response_cache import CachedResponse
from fibweb.stats.access_record import AccessRecord, RequestIds

__all__ = ["Channel", "ServerContext"]

log = logging.getLogger(__name__)

RECEIVE_BYTES = 8192
"""At a time; requests are far smaller."""

REQUEST_SECONDS = 10.0
"""From the first byte of a request to its last."""

LINGER_QUIET_SECONDS = 2.0
LINGER_SECONDS = 30.0
LINGER_BYTES = 64 * 1024 * 1024
"""Bounds for dropping the rest of a refused request: the longest pause, all time, all bytes."""

DISCARD_BYTES = 256 * 1024
DISCARDS_PER_TURN = 8
"""At a time, and how often in one turn of the loop."""

_discarded = bytearray(DISCARD_BYTES)

SURPLUS_SECONDS = 2.0
"""For a surplus connection to take its answer."""

MAX_DROPS = 3
"""How often a large number is fetched again for a reader that was too slow for it."""

QUIET_SECONDS = 0.5
"""When the server ends: a client that says nothing for this long is taken not to be about to."""

MAX_FETCHES = 8
"""For one request, before its first byte: its limits and its first piece, and some more should
what was in memory have gone meanwhile."""


class State(Enum):
    """What a connection is doing."""

    IDLE = auto()  # reads, and begins with the next request
    READY = auto()  # the application runs in this turn of the loop, or a later one
    WAITING = auto()  # for what the application needs from a fibserver
    SENDING = auto()
    LOADING = auto()  # for the next piece
    LINGERING = auto()  # drops what still comes
    CLOSED = auto()


@dataclass(slots=True)
class ServerContext:
    """What the connections of a server have in common.

    Attributes:
        on_response: is told of each answered request.
        request_ids: names requests.
        fetcher: asks the fibservers.
        held: what the answers under way hold in memory.
        admission: decides which connections there may be.
        is_draining: whether the server is about to end, so that no request comes after this one.
    """

    on_response: Callable[[AccessRecord], None]
    request_ids: RequestIds
    fetcher: Fetcher
    held: HeldBytes["Channel"]
    admission: Admission["Channel"]
    is_draining: bool = False


class Channel(HTTPChannel):
    """One client's connection.

    Attributes:
        is_surplus: whether it came when there were too many: it gets one answer, if that is in
            memory, and is closed.
        was_served: whether it has ever been answered.
        pace: how fast the client takes its answer; None if it has not been slow so far.
    """

    parser_class = Request
    server: Any
    requests: Any  # of Request and CachedHeaderRequest, in the order of their arrival
    request: Request | None
    addr: Any
    socket: Any
    _fileno: Any

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        """Take over a connection that was just accepted, as waitress hands it over."""
        super().__init__(server, sock, addr, adj, map)
        self.server_context: ServerContext = server.server_context
        self.is_surplus = False
        self.pace: ReadingPace | None = None
        self._state = State.IDLE
        self._progress = self._began = time.monotonic()
        self._bytes = b""  # of the request under way, if it came whole and alone
        self._unparsed = b""
        self._handling = ""
        self._request_id = ""
        self._fetched: dict[Fetch, bytes | Exception] = {}  # for the request under way
        self._response: Response | None = None
        self._outgoing: Outgoing | None = None
        self._is_holding = False
        self._drops = 0  # of pieces of the answer under way
        self._may_send_more = False  # than was read of the request under way
        self._discarded = 0  # bytes, while lingering
        self.was_served = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing has arrived that has not been answered."""
        is_empty = not self.requests and self.request is None and not self._unparsed
        return self._state is State.IDLE and is_empty

    @property
    def closes_next(self) -> bool:
        """Whether the connection ends with the next answer."""
        return self.is_surplus or self.server_context.is_draining

    @property
    def idle_since(self) -> float | None:
        """Since when no whole request has been under way; None if one is."""
        if self._state is State.LINGERING:
            return float("-inf")
        return self._progress if self._state is State.IDLE and not self.requests else None

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""
        return self._state not in (State.IDLE, State.LINGERING, State.CLOSED)

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has been waited for too long.

        That is: for a request, for the rest of one, or until it took some more of an answer.

        Args:
            now: monotonic.
        """
        if self.is_surplus and now - self._began > SURPLUS_SECONDS:
            return True
        if self._state is State.LINGERING:
            is_quiet = now - self._progress > LINGER_QUIET_SECONDS
            return is_quiet or now - self._began > LINGER_SECONDS
        if self._is_receiving:
            return now - self._began > REQUEST_SECONDS
        is_waiting = self._state in (State.IDLE, State.SENDING)
        return is_waiting and now - self._progress > self.adj.channel_timeout

    @property
    def _is_receiving(self) -> bool:
        """Whether a request has come in part."""
        return self._state is State.IDLE and self.request is not None

    def time_out(self) -> None:
        """Close the connection of a client that is overdue; one that owes a request is told so."""
        if self.is_surplus or not self._is_receiving:
            self.handle_close()
            return
        request, self.request = self.request, None
        assert request is not None
        request.time_out(REQUEST_SECONDS)
        self._bytes = b""
        self.requests.append(request)
        self._guarded(self._begin_request)

    def measure_pace(self, now: float) -> None:
        """Note how fast the client takes the answer under way; to be called from time to time."""
        if self._outgoing is None or self._state is not State.SENDING:
            return  # the client waits for us
        acknowledged = self._outgoing.sent - unacknowledged_bytes(self.socket)
        if self.pace is None:
            self.pace = ReadingPace(now, acknowledged)
        self.pace.sample(now, acknowledged)

    def readable(self) -> bool:
        """Return whether more requests are wanted, or what comes is dropped."""
        if self._state is State.LINGERING:
            return True
        return self._state is State.IDLE and super().readable()

    def writable(self) -> bool:
        """Return whether there is something to do as soon as the socket takes bytes."""
        if self._state is State.IDLE:
            return bool(self.requests) or super().writable()
        return self._state is State.SENDING

    def handle_read(self) -> None:
        """Receive what has arrived, and answer a request seen before."""
        if self._state is State.LINGERING:
            self._discard()
            return
        if self._state is not State.IDLE or self.requests:
            self._watch()  # one request at a time: more is read after this one is answered
            return
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
            replay = self.server.responses.find(data)
            if replay is not None and self._replay(replay):
                return
            plain = self.server.parsed_headers.find(data)
            if plain is not None:
                self.requests.append(plain)
                self._begin_request()
                return
        else:
            self._bytes = b""
        self.received(data)
        if self._unparsed or self.request is not None:
            self._bytes = b""
        self._proceed()

    def received(self, data: bytes) -> bool:
        """Parse the next request; the rest waits, since parsing a pipeline takes milliseconds.

        Args:
            data: received after what is not parsed yet.
        """
        self._unparsed += data
        while self._unparsed and not self.requests:
            request = self.request = self.request or self.parser_class(self.adj)
            self._unparsed = self._unparsed[request.received(self._unparsed) :]
            # As in waitress: behind another request only if the body has not come with it.
            is_waiting = bool(data) or not (self._unparsed or request.completed)
            # A request without a body, or one that is refused, needs no permission to send it.
            has_more = request.has_body and not request.error
            waits_to_continue = request.expect_continue and request.headers_finished and has_more
            if waits_to_continue and is_waiting and not self.sent_continue:
                self.send_continue()
            if request.completed:
                self.sent_continue = False
                self.request = None
                if not request.empty:
                    self.requests.append(request)
        return True

    def handle_write(self) -> None:
        """Go on with the answer under way, or begin with the next request."""
        if self._state is State.IDLE and (self.total_outbufs_len or self.will_close):
            super().handle_write()  # "100 Continue"
        self._proceed()

    def handle_error(self) -> None:
        """Close the connection: something failed that nobody else should suffer from."""
        log.exception("a connection is closed for an internal error")
        self.handle_close()

    def leave(self) -> None:
        """Close the connection if nothing is under way; what has just arrived is answered.

        So is what may be on its way: who has asked or been answered a moment ago gets a little
        time for another request, which is answered as the last one. It would be lost otherwise.
        """
        if self.is_idle:
            self.handle_read()
        is_over = self.is_idle or self._state is State.LINGERING
        if is_over and time.monotonic() - self._progress >= QUIET_SECONDS:
            self.handle_close()

    def handle_close(self) -> None:
        """Close the connection, whatever is under way."""
        if self._state is not State.CLOSED:
            if self._state in (State.WAITING, State.LOADING):
                self.server_context.fetcher.remove(self)
            self._state = State.CLOSED
            super().handle_close()
            self._fetched.clear()
            self._report(self._outgoing.sent if self._outgoing else 0)

    # What has to be fetched.

    def fetch(self, fetch: Fetch) -> bytes:
        """Return what the application needs from a fibserver, if that has been fetched.

        Args:
            fetch: what it needs.

        Raises:
            WouldBlock: it is being fetched; the application will be run again.
            Overloaded: there is too much to do.
            FibError: it cannot be had.
        """
        result = self._fetched.get(fetch)
        if isinstance(result, bytes):
            return result
        if result is not None:
            raise result
        if self.is_surplus:
            raise self.server_context.fetcher.refusal("surplus")
        if len(self._fetched) >= MAX_FETCHES:
            raise self.server_context.fetcher.refusal("full")
        self.server_context.fetcher.add(fetch, self)
        raise WouldBlock

    def on_fetched(self, fetch: Fetch, result: bytes | Exception) -> None:
        """Run the application again, or send the next piece.

        Args:
            fetch: what was fetched.
            result: its bytes, or why it cannot be had.
        """
        if self._state is State.WAITING:
            self._fetched[fetch] = result
            self._state = State.READY
            self.server.loop.defer(self._serve)
        elif self._state is State.LOADING:
            if isinstance(result, Exception):
                log.warning("an answer is broken off: %s", result)
                self.handle_close()  # with the answer unfinished, which its client will notice
                return
            assert self._outgoing is not None
            assert self._outgoing.file is not None
            self._outgoing.file.give(result)
            self._state = State.SENDING
            self.pace = None
            self._guarded(self._proceed)

    def give_up_held(self) -> None:
        """Let go of what is held for a client that does not take it.

        A piece can be fetched again when the client goes on; what cannot ends the connection.
        """
        self._is_holding = False
        outgoing = self._outgoing
        assert outgoing is not None, "only what is being sent is held"
        is_cut_off = outgoing.file is None
        if outgoing.file is not None:
            # A single number above the size of a piece costs a worker much more than others.
            self._drops += outgoing.file.held_bytes > PIECE_BYTES
            is_cut_off = self._drops > MAX_DROPS
            outgoing.file.drop_held()
        if outgoing.held_bytes or is_cut_off:
            log.info("%s is cut off: memory is short, and it reads slowest", self.addr[0])
            self.server_context.admission.cut_off["memory"] += 1
            self.handle_close()

    def _hold(self) -> None:
        """Account for what this connection keeps in memory from now on."""
        outgoing = self._outgoing
        size = outgoing.held_bytes if outgoing is not None else 0
        if size or self._is_holding:
            self._is_holding = size > 0
            self.server_context.held.set(self, size)

    # From a request to its answer.

    def _replay(self, replay: CachedResponse) -> bool:
        """Give an answer again, unless something it takes is no longer in memory."""
        context, response = self.server_context, replay.response
        if self.is_surplus or context.is_draining:
            return False  # its header does not say that the connection ends
        file = response.file
        views = () if file is None else file.cached_whole()
        if file is not None and not views and not file.is_cached:
            return False
        self._handling = "cached"
        self._request_id = response.exchange.request_id or context.request_ids.fresh()
        self._response = response
        data = replay.data(int(time.time()))
        if file is None:
            self._send_whole(data)
        elif views and len(views) < MAX_VIEWS:
            self._send_cached(data, views, file)
        else:
            self._send_first(Outgoing(data, file.reopened()))
        self._watch()
        return True

    def _proceed(self) -> None:
        """Do what can be done now, and say what is to be waited for."""
        if self._state is State.IDLE and self.requests and not self.total_outbufs_len:
            self._begin_request()
            return
        if self._outgoing is not None:
            self._send_more()
        self._watch()

    def _watch(self) -> None:
        """Say what is to be waited for."""
        state = self._state
        if state is State.CLOSED:
            return
        loop = self.server.loop
        try:
            if state is State.WAITING:
                loop.want(self._fileno, select.EPOLLRDHUP)
            elif (
                state is State.IDLE
                and not self.requests
                and not self.total_outbufs_len
                and not self.will_close
            ):
                loop.want(self._fileno, select.EPOLLIN)  # as `watch` would find out
            else:
                loop.watch(self._fileno)
        except OSError as error:  # the kernel has no memory for it
            log.warning("a connection is closed: %s", error)
            self.handle_close()

    def _begin_request(self) -> None:
        """Let the application run on the next request, after the events of this turn."""
        self._state = State.READY
        request: Request | CachedHeaderRequest = self.requests[0]
        request.id = self.server_context.request_ids.choose(request.proposed_id)
        if isinstance(request, Request) and request.is_tls:
            log.warning("%s sends TLS, but here is plain HTTP: see the URL it uses", self.addr[0])
        if self._bytes and request.is_usual and isinstance(request, Request):
            self.server.parsed_headers.learn(self._bytes, request.template(self._context()))
        self._handling = "inline"
        self.server.loop.defer(self._serve)

    def _context(self) -> RequestContext:
        """Return a new context for the request; one kept here would refer back to this."""
        return RequestContext(
            self.server,
            self.addr,
            self.fetch,
            self.check_client_disconnected,
            closes_next=self.closes_next,
        )

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call something; if it fails that ends this connection and nothing else."""
        try:
            call()
        except Exception:
            self.handle_error()

    def _serve(self) -> None:
        """Run the application on the request under way."""
        if self._state is State.READY:
            self._guarded(self._run_application)

    def _run_application(self) -> None:
        request: Request | CachedHeaderRequest = self.requests[0]
        try:
            response = respond(self._context(), request)
        except WouldBlock:
            self._state = State.WAITING
            self._handling = "threaded"
            self._watch()
            return
        self._fetched.clear()
        self._may_send_more = bool(request.error)
        self.requests.pop(0)
        request.close()
        if self._bytes and response.is_cacheable:
            self.server.responses.learn(self._bytes, response)
        self._request_id = request.id
        self._response = response
        self._state = State.SENDING
        self.server.loop.call_soon(self._send_response)

    def _send_response(self) -> None:
        """Begin to send what was answered in this turn."""
        if self._state is State.SENDING and self._response is not None:
            self._guarded(self._send_now)

    def _send_now(self) -> None:
        response = self._response
        assert response is not None
        data = response.header + response.body
        if response.file is None:
            self._send_whole(data)
        else:
            self._send_first(Outgoing(data, response.file))
        self._watch()

    def _send_whole(self, data: bytes) -> None:
        """Send an answer without a file; most are taken by the kernel at once."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.handle_close()
            return
        if sent == len(data):
            self._finish(sent)
        else:
            self._send_first(Outgoing(data, None, sent))

    def _send_cached(self, data: bytes, views: Sequence[memoryview], file: AnswerFile) -> None:
        """Send a header and a file that is all in memory, in one system call if it is taken."""
        try:
            sent = self.socket.sendmsg((data, *views))
        except BlockingIOError:
            sent = 0
        except OSError:
            self.handle_close()
            return
        if sent == len(data) + file.size:
            self._finish(sent)
        else:
            self._send_first(Outgoing(data, file.reopened(), sent))

    def _send_first(self, outgoing: Outgoing) -> None:
        self._state = State.SENDING
        self._outgoing = outgoing
        self._send_more()

    def _send_more(self) -> None:
        """Send what the socket takes, and have what is missing fetched."""
        outgoing = self._outgoing
        assert outgoing is not None
        before = outgoing.sent
        try:
            is_full = outgoing.send(self.socket)
        except OSError:
            self.handle_close()
            return
        if outgoing.sent > before:
            self._progress = time.monotonic()
        if outgoing.is_sent:
            self._finish(outgoing.sent)
            return
        self._hold()
        if not is_full and self._state is State.SENDING:
            self._load()

    def _load(self) -> None:
        """Have the next piece of the answer under way fetched."""
        assert self._outgoing is not None
        assert self._outgoing.file is not None
        if self.is_surplus:
            self.handle_close()  # it gets what is in memory
            return
        is_tight = self.server_context.held.is_tight
        fetch = self._outgoing.file.missing(SMALL_PIECE_BYTES if is_tight else PIECE_BYTES)
        self.server_context.fetcher.add_next(fetch, self)
        self._state = State.LOADING
        self._handling = "threaded"

    def _finish(self, sent: int) -> None:
        """See to the end of an answer.

        Args:
            sent: how many bytes it had, with its header.
        """
        response = self._response
        self._state = State.IDLE
        self._report(sent)
        if response is not None and response.closes:
            self._end()
        elif self._unparsed:
            self.received(b"")

    def _end(self) -> None:
        """Close the connection after its last answer, or linger if the client may send more."""
        if not (self._may_send_more or self._unparsed or self.requests or self._has_unread):
            self.handle_close()
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone
            self.handle_close()
            return
        self._state = State.LINGERING
        self._began = self._progress
        self._unparsed = b""
        self.requests.clear()
        self._discard()

    @property
    def _has_unread(self) -> bool:
        (count,) = struct.unpack("i", fcntl.ioctl(self.socket, termios.FIONREAD, bytes(4)))
        return bool(count)

    def _discard(self) -> None:
        """Drop what has come; close the connection at its end, or if that is too much."""
        for _ in range(DISCARDS_PER_TURN):
            try:
                size = self.socket.recv_into(_discarded)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            self._discarded += size
            if not size or self._discarded > LINGER_BYTES:
                self.handle_close()
                return
            self._progress = time.monotonic()

    def _report(self, sent: int) -> None:
        """Let go of the answer under way, which is over, and tell of it."""
        response, outgoing = self._response, self._outgoing
        self._response = self._outgoing = self.pace = None
        self._drops = 0
        self._progress = time.monotonic()
        if outgoing is not None:
            outgoing.close()
            self._hold()
        if response is not None:
            self.was_served = True
            exchange = response.exchange.finished(
                max(0, sent - len(response.header)),
                self._progress - self._began,
                self.addr[0],
                self._request_id,
                self._handling,
            )
            self.server_context.on_response(exchange)
