"""HTTP connection: receives requests, schedules their handling and sends the responses.

Two rules hold. Only the event loop touches a connection: threads fetch, and post their results to
the loop. A connection handles one request at a time: the next one begins when the kernel has taken
the last byte of the response before it, so responses keep their order and no client can pile them
up.

    IDLE ──request──> response cache ────────────────────> SENDING ──last byte──> IDLE, or CLOSED
      └─> READY ────> application ────────────────────────────^ │
            ^              └─WouldBlock─> WAITING ──fetched──┐   └─next piece─> LOADING ──> SENDING
            └────────────────────────────────────────────────┘

The kernel resets a connection that is closed with unread bytes, and the reset may overtake the
response. So if the client may still be sending after the last response, its bytes are read and
discarded for some seconds (LINGERING; RFC 9112, 9.6).

The responses that the application makes in one iteration of the loop are sent together at its end.
The clients are then woken in quick succession, which costs the kernel less than spreading them
out; libuv does the same.

A client that shuts down its side of the connection while its request waits for a fetch counts as
disconnected, as in nginx: the request is dropped. A response from memory is sent nevertheless.
"""

import fcntl
import logging
import select
import struct
import termios
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from socket import SHUT_WR, socket

from fibcommon.service.admission import ReadRate, unacknowledged_bytes
from fibweb.content.document_file import PIECE_BYTES, SMALL_PIECE_BYTES, DocumentFile
from fibweb.content.fetch_request import FetchRequest, WouldBlock
from fibweb.overload.connection_admission import Admission
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.event_loop import Loop
from fibweb.server.fetch_threads import FetchThreads
from fibweb.server.inline_path import respond
from fibweb.server.parsed_headers import ParsedHeaderCache
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import ClientAddress, SiteContext
from fibweb.server.response import MAX_VIEWS, Outgoing, Response
from fibweb.server.response_cache import CachedResponse, ResponseCache
from fibweb.stats.access_record import AccessRecord, RequestIds

__all__ = ["Channel", "ServerContext"]

log = logging.getLogger(__name__)

RECEIVE_BYTES = 8192
"""Size of one read; requests are far smaller."""

REQUEST_SECONDS = 10.0
"""Time limit from the first byte of a request to its last."""

CHANNEL_TIMEOUT_SECONDS = 120
"""Time limit for an idle connection, longer than proxies and browsers keep theirs, and for a
reader that makes no progress."""

LINGER_QUIET_SECONDS = 2.0
LINGER_SECONDS = 30.0
LINGER_BYTES = 64 * 1024 * 1024
"""Bounds for discarding the rest of a rejected request: longest pause, total time, total bytes."""

DISCARD_BYTES = 256 * 1024
DISCARDS_PER_ITERATION = 8
"""Size of one read while lingering, and the number of reads per iteration of the loop."""

_discarded = bytearray(DISCARD_BYTES)

SURPLUS_SECONDS = 2.0
"""Time limit for a surplus connection."""

MAX_DROPS = 3
"""How often a number larger than a piece is fetched again for a slow reader."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

QUIET_SECONDS = 0.5
"""While draining, a connection that is silent for this long is closed."""

MAX_FETCHES = 8
"""Maximum number of fetches before the first byte of a response. Two are normal, for the limits of
the fibservers and for the first piece; eviction of cached bytes may cause more."""


class ChannelState(Enum):
    """State of a connection.

    Attributes:
        events: Events of epoll to wait for.
    """

    IDLE = "reads the next request", select.EPOLLIN
    READY = "the application is scheduled to run", 0
    WAITING = "waits for a fetch from a fibserver", select.EPOLLRDHUP
    SENDING = "sends a response, or 100 Continue", select.EPOLLOUT
    LOADING = "fetches the next piece of the response", 0
    LINGERING = "discards what the client still sends", select.EPOLLIN
    CLOSED = "the socket is closed", 0

    def __init__(self, description: str, events: int) -> None:
        self.events = events


# Looking up a member of an enumeration takes five times as long.
IDLE, READY, SENDING = ChannelState.IDLE, ChannelState.READY, ChannelState.SENDING

_new_record = partial(tuple.__new__, AccessRecord)
"""Creates a record from a tuple of all fields, three times as fast as the class."""


@dataclass(slots=True)
class ServerContext:
    """State of the server that the connections of a listener share.

    Attributes:
        site: What the application needs of it.
        loop: The event loop.
        connections: All connections of the server.
        on_response: Called with the record of each finished request.
        request_ids: Assigns request ids.
        fetcher: Runs fetches from fibservers.
        held: Memory that responses in progress hold.
        admission: Decides which connections to accept and to close.
        responses: The response cache of the application.
        parsed_headers: The cache of parsed headers of the listener.
        is_draining: Whether the server is stopping, so that each response closes its connection.
    """

    site: SiteContext
    loop: Loop
    connections: set["Channel"]
    on_response: Callable[[AccessRecord], None]
    request_ids: RequestIds
    fetcher: FetchThreads
    held: HeldBytes
    admission: Admission
    responses: ResponseCache
    parsed_headers: ParsedHeaderCache
    is_draining: bool = False


class Channel:
    """One client's connection.

    Attributes:
        site: What the application needs of the listener.
        addr: Address of the client.
        is_surplus: Whether it was accepted beyond the bound: it gets one response, if that is in
            memory, and is closed.
        was_served: Whether it has ever had a response.
        read_rate: Rate at which the client reads its response; None until it is measured.
    """

    def __init__(self, sock: socket, addr: ClientAddress, context: ServerContext) -> None:
        """Register an accepted connection with the event loop; `close` closes it.

        Raises:
            OSError: The kernel is out of memory.
        """
        self.site = context.site
        self.addr = addr
        self.is_surplus = False
        self.was_served = False
        self.read_rate: ReadRate | None = None
        self._socket = sock
        self._fileno = sock.fileno()
        self._context = context
        self._state = IDLE
        self._events = IDLE.events
        self._progress = self._began = time.monotonic()
        self._bytes = b""  # of the current request, if one read returned just that
        self._unparsed = b""
        self._partial: HttpRequest | None = None  # request that has not arrived as a whole
        self._complete: HttpRequest | None = None  # request to respond to
        self._handling = ""
        self._target = ""  # if it differs from that of the response's request
        self._request_id = ""
        self._fetched: dict[Hashable, bytes | Exception] = {}  # by key, for this request
        self._response: Response | None = None
        self._outgoing: Outgoing | None = None
        self._drops = 0  # of oversized pieces of the current response
        self._may_send_more = False  # since its request was rejected, perhaps before its end
        self._discarded = 0  # bytes, while lingering
        sock.setblocking(False)
        context.loop.register(self._fileno, self)
        context.connections.add(self)

    @property
    def closes_next(self) -> bool:
        """Whether the next response closes the connection."""
        return self.is_surplus or self._context.is_draining

    @property
    def idle_since(self) -> float | None:
        """When the connection was last active; None during a request, -inf while lingering."""
        if self._state is ChannelState.LINGERING:
            return float("-inf")
        return self._progress if self._state is ChannelState.IDLE else None

    @property
    def is_answering(self) -> bool:
        """Whether a request is in progress."""
        return self._state not in (ChannelState.IDLE, ChannelState.LINGERING, ChannelState.CLOSED)

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has exceeded a time limit.

        The limits are for sending a request, for completing one, and for reading the response.

        Args:
            now: Monotonic time in seconds.
        """
        if self.is_surplus and now - self._began > SURPLUS_SECONDS:
            return True
        if self._state is ChannelState.LINGERING:
            is_quiet = now - self._progress > LINGER_QUIET_SECONDS
            return is_quiet or now - self._began > LINGER_SECONDS
        if self._partial is not None:
            return now - self._began > REQUEST_SECONDS
        is_waiting = self._state in (ChannelState.IDLE, ChannelState.SENDING)
        return is_waiting and now - self._progress > CHANNEL_TIMEOUT_SECONDS

    def time_out(self) -> None:
        """Respond 408 to an overdue client with an incomplete request; close any other."""
        request = self._partial
        if request is None or self.is_surplus or self._outgoing is not None:
            self.close()
            return
        request.time_out(REQUEST_SECONDS)
        self._bytes = b""
        self._begin_request(request)

    def measure_read_rate(self, now: float) -> None:
        """Sample the rate at which the client reads; to be called every few seconds."""
        if self._outgoing is None or self._state is not ChannelState.SENDING:
            return  # the client waits for the server
        acknowledged = self._outgoing.sent - unacknowledged_bytes(self._socket)
        if self.read_rate is None:
            self.read_rate = ReadRate(now, acknowledged)
        self.read_rate.sample(now, acknowledged)

    def handle_events(self, events: int) -> None:
        """Receive a request, or continue to send the response."""
        if events == select.EPOLLIN:  # nearly always
            self._receive()
            return
        if events & select.EPOLLIN:
            self._receive()
        if events & select.EPOLLOUT:
            self._resume()
        if events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            self.close()

    def _receive(self) -> None:
        """Receive data; start its request, or respond from the cache."""
        if self._state is not IDLE:
            if self._state is ChannelState.LINGERING:
                self._discard()
            else:
                self._watch()  # one request at a time: the next is read after this response
            return
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._bytes = data if self._partial is None else b""
        if self._bytes:
            self._progress = self._began = time.monotonic()
            cached = self._context.responses.get(data)
            if cached is not None and self._respond_from_cache(data, cached):
                return
            request = self._context.parsed_headers.get(data)
            if request is not None:
                self._begin_request(request)
                return
        self._parse(data)
        if self._unparsed or self._complete is None:
            self._bytes = b""
        elif self._bytes:
            self._context.parsed_headers.put(self._bytes, self._complete, self)

    def _parse(self, data: bytes) -> None:
        """Parse up to the end of the next request, and begin it; keep the rest for later.

        Parsing a whole pipeline at once would block the loop for milliseconds.

        Args:
            data: Bytes just received, which follow those that are not parsed yet.
        """
        self._unparsed += data
        while self._unparsed and self._complete is None:
            request = self._partial = self._partial or HttpRequest(self.site.adj)
            self._unparsed = self._unparsed[request.received(self._unparsed) :]
            if request.completed:
                self._partial = None
                if request.is_tls:
                    log.warning("%s sent TLS to a plain HTTP port: use http://", self.addr[0])
                if not request.empty:
                    self._begin_request(request)
            # As in waitress: if an earlier request came in the same data, "100 Continue" is sent
            # only while the body is missing.
            elif request.waits_to_continue and (data or not self._unparsed):
                request.expect_continue = False
                self._state = ChannelState.SENDING
                self._outgoing = Outgoing(CONTINUE, None)
                self._resume()  # and then parse the rest
                return

    def handle_error(self) -> None:
        """Log the current exception and close this connection; the others are not affected."""
        log.exception("closing a connection after an internal error")
        self.close()

    def close_if_idle(self) -> None:
        """Close the connection if it is idle; called repeatedly while the server drains.

        A request that has just arrived is answered first. A client that was active a moment ago
        may have another request in transit, which would be lost: its connection stays open until
        it has been silent for `QUIET_SECONDS`.
        """
        if self._is_idle:
            self._receive()
        is_over = self._is_idle or self._state is ChannelState.LINGERING
        if is_over and time.monotonic() - self._progress >= QUIET_SECONDS:
            self.close()

    @property
    def _is_idle(self) -> bool:
        """Whether every byte received so far has been answered."""
        return self._state is ChannelState.IDLE and self._partial is None

    def close(self) -> None:
        """Close the connection, even during a request."""
        if self._state is ChannelState.CLOSED:
            return
        if self._state in (ChannelState.WAITING, ChannelState.LOADING):
            self._context.fetcher.remove(self)
        self._state = ChannelState.CLOSED
        self._context.loop.unregister(self._fileno)
        self._context.connections.discard(self)
        self._socket.close()
        self._fetched.clear()
        self._report(self._outgoing.sent if self._outgoing else 0)

    # Fetches.

    def fetch(self, fetch: FetchRequest) -> bytes:
        """Return the result of a fetch for the application, or queue the fetch.

        Args:
            fetch: The bytes that the application needs.

        Raises:
            WouldBlock: The fetch is queued; the application is run again after it.
            Overloaded: The server has too much to do.
            FibError: The fetch failed.
        """
        result = self._fetched.get(fetch.key)
        if isinstance(result, bytes):
            return result
        if result is not None:
            raise result
        if self.is_surplus:
            raise self._context.fetcher.rejection("surplus")
        if len(self._fetched) >= MAX_FETCHES:
            raise self._context.fetcher.rejection("evicted")
        self._context.fetcher.add(fetch, self)
        raise WouldBlock

    def on_fetched(self, fetch: FetchRequest, result: bytes | Exception) -> None:
        """Schedule the application again, or send the next piece.

        Args:
            fetch: The fetch that has ended.
            result: Its bytes or its error.
        """
        if self._state is ChannelState.WAITING:
            self._fetched[fetch.key] = result
            self._state = ChannelState.READY
            self._context.loop.defer(self)
        elif self._state is ChannelState.LOADING:
            if isinstance(result, Exception):
                log.warning("aborting a response: %s", result)
                self.close()  # the client sees fewer bytes than Content-Length
                return
            assert self._outgoing is not None
            assert self._outgoing.file is not None
            self._outgoing.file.hold(result)
            self._state = ChannelState.SENDING
            self.read_rate = None
            # Sending a piece takes milliseconds, so other events are handled in between.
            self._context.loop.defer(self)

    def release_held(self) -> None:
        """Release the bytes held for a slow reader.

        A piece is fetched again when the client continues to read. Other bytes cannot be: the
        connection is closed.
        """
        outgoing = self._outgoing
        assert outgoing is not None, "only a response in progress holds bytes"
        is_cut_off = outgoing.file is None
        if outgoing.file is not None:
            # A number larger than a piece costs a fibserver much more than other pieces.
            self._drops += outgoing.file.held_bytes > PIECE_BYTES
            is_cut_off = self._drops > MAX_DROPS
            outgoing.file.release_held()
        if outgoing.held_bytes or is_cut_off:
            log.info("closing the slowest reader, %s: memory is short", self.addr[0])
            self._context.admission.cut_off["memory"] += 1
            self.close()

    # From a request to its response.

    def _respond_from_cache(self, data: bytes, cached: CachedResponse) -> bool:
        """Send a cached response; return False if it cannot be used now.

        Its body may have been evicted from the client library's cache.
        """
        context, response = self._context, cached.response
        if self.is_surplus or context.is_draining:
            return False  # its header lacks "Connection: close"
        file = response.file
        views = () if file is None else file.cached_whole()
        if file is not None and not views and not file.is_cached:
            return False
        self._handling = "cached"
        self._target = "" if data == cached.request else data.split(b" ", 2)[1].decode("ascii")
        self._request_id = cached.proposed_id or context.request_ids.fresh()
        self._response = response
        self._send(cached.data(int(time.time())), file, views)
        return True

    def _watch(self) -> None:
        """Set the events to wait for, by the current state."""
        if self._state.events == self._events or self._state is ChannelState.CLOSED:
            return
        try:
            self._context.loop.set_events(self._fileno, self._state.events)
            self._events = self._state.events
        except OSError as error:  # the kernel is out of memory
            log.warning("closing a connection: %s", error)
            self.close()

    def _begin_request(self, request: HttpRequest) -> None:
        """Schedule the application for the next request."""
        self._partial, self._complete = None, request
        self._state = READY
        request.id = self._context.request_ids.choose(request.headers.get("X_REQUEST_ID", ""))
        self._handling = "inline"
        self._context.loop.defer(self)

    def handle_turn(self) -> None:
        """Run the application for the current request, unless the connection has been closed."""
        request = self._complete
        if self._state is not READY or request is None:
            return
        try:
            response = respond(self, request)
        except WouldBlock:
            self._state = ChannelState.WAITING
            self._handling = "threaded"
            self._watch()
            return
        self._fetched.clear()
        self._may_send_more = bool(request.error)
        self._complete = None
        request.close()
        if self._bytes and response.is_cacheable:
            self._context.responses.put(self._bytes, response)
        self._request_id, self._target = request.id, ""
        self._response = response
        self._state = SENDING

    def end_turn(self) -> None:
        """Begin to send the response, or go on with its next piece."""
        response = self._response
        if self._state is not SENDING or response is None:
            return  # the application waits for a fetch, or the connection has been closed
        if self._outgoing is not None:
            self._resume()
            return
        file = response.file
        views = () if file is None else file.cached_whole()
        self._send(response.header + response.body, file, views)

    def _send(self, data: bytes, file: DocumentFile | None, views: Sequence[memoryview]) -> None:
        """Begin to send the response; one system call suffices if it is in memory.

        Args:
            data: First part of the response.
            file: Second part, or None.
            views: All bytes of the file; empty if they are not in memory, or many.
        """
        sent = 0
        if file is None or 0 < len(views) < MAX_VIEWS:
            try:
                sent = self._socket.sendmsg((data, *views)) if views else self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        if sent == len(data) + (file.size if file is not None else 0):
            self._finish(sent)
            self._watch()
            return
        if file is not None and not file.held_bytes:
            file = file.reopened()  # it may be in the cache, for other connections too
        self._state = ChannelState.SENDING
        self._outgoing = Outgoing(data, file, sent)
        self._resume()

    def _resume(self) -> None:
        """Send as much as the socket accepts; fetch the next piece if it is missing."""
        outgoing = self._outgoing
        if outgoing is None:
            return  # the connection has been closed
        before = outgoing.sent
        try:
            is_full = outgoing.send(self._socket)
        except OSError:
            self.close()
            return
        if outgoing.sent > before:
            self._progress = time.monotonic()
        if outgoing.is_sent:
            self._finish(outgoing.sent)
        else:
            self._context.held.set(self, outgoing.held_bytes)
            if not is_full and self._state is ChannelState.SENDING:
                self._load()
        self._watch()

    def _load(self) -> None:
        """Queue a fetch of the next piece of the current response."""
        assert self._outgoing is not None
        assert self._outgoing.file is not None
        if self.is_surplus:
            self.close()  # surplus connections get only what is in memory
            return
        is_tight = self._context.held.is_tight
        fetch = self._outgoing.file.next_fetch(SMALL_PIECE_BYTES if is_tight else PIECE_BYTES)
        self._context.fetcher.add_next(fetch, self)
        self._state = ChannelState.LOADING
        self._handling = "threaded"

    def _finish(self, sent: int) -> None:
        """Finish the current response; close the connection or go on to the next request.

        Args:
            sent: Bytes of the response, header included.
        """
        response = self._response
        self._state = IDLE
        self._report(sent)
        if response is not None and response.closes:
            self._end()
        elif self._unparsed:
            self._parse(b"")

    def _end(self) -> None:
        """Close the connection after its last response; linger if the client may send more."""
        if not (self._may_send_more or self._unparsed or self._has_unread):
            self.close()
            return
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:  # the client has disconnected
            self.close()
            return
        self._state = ChannelState.LINGERING
        self._began = self._progress
        self._unparsed = b""
        self._discard()

    @property
    def _has_unread(self) -> bool:
        (count,) = struct.unpack("i", fcntl.ioctl(self._socket, termios.FIONREAD, bytes(4)))
        return bool(count)

    def _discard(self) -> None:
        """Discard received bytes; close the connection at end of file or beyond the limit."""
        for _ in range(DISCARDS_PER_ITERATION):
            try:
                size = self._socket.recv_into(_discarded)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            self._discarded += size
            if not size or self._discarded > LINGER_BYTES:
                self.close()
                return
            self._progress = time.monotonic()

    def _report(self, sent: int) -> None:
        """Release the current response, which has ended, and report it."""
        response, outgoing = self._response, self._outgoing
        self._response = self._outgoing = self.read_rate = None
        self._drops = 0
        self._progress = time.monotonic()
        if outgoing is not None:
            outgoing.close()
            self._context.held.set(self, 0)
        if response is not None:
            self.was_served = True
            request = response.request
            record = (
                request.command,
                self._target or request.request_uri,
                response.status,
                max(0, sent - len(response.header)),
                self._progress - self._began,
                self.addr[0],
                request.headers.get("USER_AGENT", ""),
                self._request_id,
                self._handling,
                response.media_type,
            )
            self._context.on_response(_new_record(record))
