"""The server: its sockets, its loop and threads, its limits, and an end that loses no request."""

import logging
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from fibcommon.addresses import plain_host
from fibcommon.service.admission import NEWCOMER_SECONDS
from fibweb.http.cors import CrossOriginReading
from fibweb.overload.admission import Admission, Verdict
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.channel import Channel, ServerContext
from fibweb.server.event_loop import Loop
from fibweb.server.fetcher import Fetcher
from fibweb.server.parsed_headers import ParsedHeaderCache
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES
from fibweb.server.response_cache import ResponseCache
from fibweb.stats.access_record import AccessRecord, RequestIds

__all__ = ["HttpServer", "Limits", "Overload", "Site", "create_server"]

log = logging.getLogger(__name__)

IDENT = "fibweb"
"""What the Server header says."""

CHANNEL_TIMEOUT_SECONDS = 120
"""Longer than proxies and browsers keep a connection that they do not use."""

CLEANUP_SECONDS = 1.0
"""Between two looks for connections whose time is over."""

ACCEPTS_PER_TURN = 16
"""Connections accepted at a time, so that a crowd of new ones does not hold up the others."""

LOOP_SECONDS = 0.25
"""The longest wait for something to happen; time limits are looked at that often."""


class Site(NamedTuple):
    """A WSGI application and where it is reached.

    Attributes:
        application: is run on the event loop, and calls `environ["fibweb.fetch"]` instead of
            blocking; see `fibweb.content.fetch`. It must not trust headers such as Forwarded: they
            come from anyone.
        listener: a listening socket, TCP or Unix. The server closes it when it stops, and the file
            of a Unix socket is the caller's to remove.
        cross_origin: who may read the errors that the server answers itself; None to say nothing.
    """

    application: Callable[..., Any]
    listener: socket.socket
    cross_origin: CrossOriginReading | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server may take on.

    Attributes:
        threads: how many fetches from fibservers run at a time, >= 1.
        max_clients: how many connections there may be, >= 1.
        pending_bytes: what answers under way may hold in memory, all together.
        fetch_seconds: for one fetch, its wait in the queue included.
    """

    threads: int = 4
    max_clients: int = 1000
    pending_bytes: int = 64 * 1024 * 1024
    fetch_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Overload:
    """What a server does about too much work: gauges, and counts since its start.

    Attributes:
        waiting: requests that wait for a thread now.
        running: fetches from fibservers that run now.
        held_bytes: what answers under way hold in memory now.
        rejections: requests refused, by reason.
        cancelled: fetches given up because nobody waited any more.
        cut_off: connections closed, by reason.
        pieces_dropped: pieces taken from slow readers, to be fetched again.
    """

    waiting: int
    running: int
    held_bytes: int
    rejections: dict[str, int]
    cancelled: int
    cut_off: dict[str, int]
    pieces_dropped: int


def create_server(
    sites: Sequence[Site],
    *,
    on_response: Callable[[AccessRecord], None],
    limits: Limits | None = None,
    root_path: str = "",
) -> "HttpServer":
    """Return a server that is ready to run.

    Make it in the process that runs it: its threads do not survive a fork.

    Args:
        sites: at least one.
        on_response: called on the event loop with each answered request; it must be quick.
        limits: what the server may take on.
        root_path: a prefix of the requests' paths, such as `/f`, that becomes SCRIPT_NAME.
    """
    return HttpServer(sites, on_response, limits or Limits(), root_path)


class HttpServer:
    """An HTTP server; see `create_server`."""

    def __init__(
        self,
        sites: Sequence[Site],
        on_response: Callable[[AccessRecord], None],
        limits: Limits,
        root_path: str,
    ) -> None:
        """Prepare to serve; nothing is accepted before `run`."""
        self._loop = Loop()
        self._fetcher = Fetcher(
            limits.threads, limits.fetch_seconds, self._loop.call_soon_threadsafe
        )
        self._held: HeldBytes[Channel] = HeldBytes(limits.pending_bytes)
        self._admission: Admission[Channel] = Admission(
            limits.max_clients, lambda: self.connections, self._channels, time.monotonic
        )
        self._server_context = ServerContext(
            on_response, RequestIds(), self._fetcher, self._held, self._admission
        )
        self._deadline: float | None = None  # of draining, once stop() was called
        self._next_cleanup = time.monotonic() + CLEANUP_SECONDS
        self._next_fetch_tick = 0.0
        settings = Adjustments(
            sockets=[site.listener for site in sites],
            ident=IDENT,
            channel_timeout=CHANNEL_TIMEOUT_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            # Clearing them takes a layer around the application, which trusts none of them anyway.
            clear_untrusted_proxy_headers=False,
            url_prefix=root_path,
        )
        self._listeners = [
            _listen(site, settings, self._loop, self._server_context) for site in sites
        ]
        responses: dict[int, ResponseCache] = {}  # by application
        for listener in self._listeners:
            key = id(listener.application)
            listener.responses = responses.setdefault(key, ResponseCache())

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(len(listener.active_channels) for listener in self._listeners)

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return sum(channel.is_answering for channel in self._channels())

    @property
    def turns(self) -> int:
        """How often the event loop has waited, at least four times a second unless it hangs."""
        return self._loop.turns

    @property
    def queue_depth(self) -> int:
        """How many requests and pieces wait for a thread."""
        return self._fetcher.waiting

    @property
    def overload(self) -> Overload:
        """What is done about too much work; from any thread."""
        fetcher, held, admission = self._fetcher, self._held, self._admission
        rejections = dict(fetcher.rejections) | {"connections": admission.rejected}
        return Overload(
            fetcher.waiting,
            fetcher.running,
            held.size,
            rejections,
            fetcher.cancelled,
            dict(admission.cut_off),
            held.given_up,
        )

    def run(self) -> None:
        """Serve until `stop` was called and all is answered, or its time is over."""
        try:
            while self._deadline is None:
                wait_seconds = LOOP_SECONDS
                for listener in self._listeners:
                    with suppress(OSError):  # no memory to watch it: the next turn tries again
                        self._loop.watch(listener.socket.fileno())  # it may have been paused
                    if (pause_seconds := listener.paused_until - time.monotonic()) > 0:
                        wait_seconds = min(wait_seconds, pause_seconds)
                self._loop.turn(wait_seconds)
                self._tick()
            self._drain()
        finally:
            self._close()

    def stop(self, drain_seconds: float) -> None:
        """Have `run` accept nothing more, finish what is under way, and return.

        It may be called by a signal handler or by any thread, and again to change the time.

        Args:
            drain_seconds: after which connections are closed, whatever is under way; >= 0.
        """
        self._deadline = time.monotonic() + drain_seconds
        self._loop.wake()

    def _tick(self) -> None:
        """From time to time: close connections and refuse requests whose time is over."""
        now = time.monotonic()
        if now >= self._next_fetch_tick:
            self._next_fetch_tick = now + LOOP_SECONDS
            self._fetcher.tick()
        if now < self._next_cleanup:
            return
        self._next_cleanup = now + CLEANUP_SECONDS
        for channel in self._channels():
            if channel.is_overdue(now):
                channel.time_out()
            else:
                channel.measure_pace(now)

    def _drain(self) -> None:
        self._server_context.is_draining = True
        for listener in self._listeners:
            listener.close()
        while True:
            for channel in self._channels():
                channel.leave()
            rest = (self._deadline or 0) - time.monotonic()
            if not self.connections or rest <= 0:
                return
            self._loop.turn(min(rest, LOOP_SECONDS))
            self._tick()

    def _close(self) -> None:
        for channel in self._channels():
            channel.handle_close()
        self._fetcher.close()
        for listener in self._listeners:
            listener.close()
        self._loop.close()

    def _channels(self) -> list[Channel]:
        # Copies, since the event loop changes them while another thread may be asking.
        each = [list(listener.active_channels.values()) for listener in self._listeners]
        return list(chain.from_iterable(each))


class _Listener:
    """What this server does otherwise than waitress's, on TCP and Unix sockets alike."""

    channel_class: Any = Channel
    accepting: bool
    adj: Any
    _map: Any
    socket: Any
    fix_addr: Any
    set_socket_options: Any
    server_context: ServerContext
    cross_origin: CrossOriginReading | None
    parsed_headers: ParsedHeaderCache
    responses: ResponseCache
    active_channels: Any
    loop: Loop
    paused_until = 0.0

    def readable(self) -> bool:
        """Return whether to accept connections."""
        return self.accepting and time.monotonic() >= self.paused_until

    def handle_accept(self) -> None:
        """Accept the clients that wait, up to a number."""
        admission = self.server_context.admission
        for _ in range(ACCEPTS_PER_TURN):
            verdict = Verdict.SERVE
            if admission.is_full:
                if not self._has_pending:
                    return
                verdict = admission.admit()
                if verdict is Verdict.WAIT:
                    self.paused_until = time.monotonic() + NEWCOMER_SECONDS
                    return
            try:
                sock, address = self.socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # that one client has gone again
            except OSError as error:
                # The kernel looks for a descriptor before it looks for a client.
                if not self._has_pending:
                    return
                if not admission.make_room():
                    log.warning("cannot accept connections, trying again soon: %s", error)
                    self.paused_until = time.monotonic() + NEWCOMER_SECONDS
                    return
                continue
            if verdict is Verdict.REFUSE:
                sock.close()
                continue
            try:
                self.set_socket_options(sock)
                client = self.fix_addr(address)
                channel = self.channel_class(self, sock, client, self.adj, self._map)
            except Exception as error:  # it has gone, or the kernel cannot watch it
                log.warning("cannot take a connection: %r", error)
                sock.close()
                continue
            channel.is_surplus = verdict is Verdict.SERVE_ONCE

    @property
    def _has_pending(self) -> bool:
        """Whether a client waits to be accepted."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def handle_error(self) -> None:
        """Pause: what waitress does, closing the listener, would end the service."""
        log.exception("cannot accept connections, trying again soon")
        self.paused_until = time.monotonic() + NEWCOMER_SECONDS

    def add_task(self, task: Any) -> None:
        """Do nothing: a channel begins with its requests itself, see there."""


class _TcpListener(_Listener, TcpWSGIServer):
    """A TCP socket that is listened on."""

    def fix_addr(self, addr: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a client's address as the application and the logs are to see it."""
        return (plain_host(addr[0]), *addr[1:])


class _UnixListener(_Listener, UnixWSGIServer):
    """A Unix socket that is listened on."""


def _listen(site: Site, settings: Adjustments, loop: Loop, context: ServerContext) -> Any:
    listener = site.listener
    kind: Any = _UnixListener if listener.family == socket.AF_UNIX else _TcpListener
    sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())
    made = kind(
        site.application,
        map=loop,
        _sock=listener,
        dispatcher=context.fetcher,  # waitress makes threads of its own otherwise
        adj=settings,
        sockinfo=sockinfo,
        bind_socket=False,
    )
    made.server_context = context
    made.cross_origin = site.cross_origin
    made.parsed_headers = ParsedHeaderCache()
    made.loop = loop
    return made
