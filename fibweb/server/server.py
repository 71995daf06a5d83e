"""HTTP server: listeners, event loop, threads, limits, and a stop that loses no request."""

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
from fibweb.http.cors import CorsPolicy
from fibweb.overload.admission import Admission, AdmissionDecision
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.channel import Channel, ServerContext
from fibweb.server.event_loop import Loop
from fibweb.server.fetcher import Fetcher
from fibweb.server.parsed_headers import ParsedHeaderCache
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES
from fibweb.server.response_cache import ResponseCache
from fibweb.stats.access_record import AccessRecord, RequestIds

__all__ = ["HttpLimits", "HttpServer", "Overload", "Site", "create_server"]

log = logging.getLogger(__name__)

IDENT = "fibweb"
"""Value of the Server header."""

CHANNEL_TIMEOUT_SECONDS = 120
"""Longer than proxies and browsers keep idle connections."""

CLEANUP_SECONDS = 1.0
"""Interval of the checks of connections for their time limits."""

ACCEPTS_PER_ITERATION = 16
"""Connections accepted per iteration, so that a burst of them does not delay the others."""

LOOP_SECONDS = 0.25
"""Longest wait for events, and interval of the checks of fetches for their time limits."""


class Site(NamedTuple):
    """WSGI application and the socket where it is served.

    Attributes:
        application: Runs on the event loop, and calls `environ["fibweb.fetch"]` instead of
            blocking; see `fibweb.content.fetch`. It must not trust headers such as Forwarded,
            which any client can send.
        listener: A listening socket, TCP or Unix. The server closes it when it stops; the caller
            removes the file of a Unix socket.
        cross_origin: CORS headers of errors that the server makes itself; None to send none.
    """

    application: Callable[..., Any]
    listener: socket.socket
    cors: CorsPolicy | None = None


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of a server.

    Attributes:
        threads: Number of fetches from fibservers that run concurrently, >= 1.
        max_clients: Maximum number of connections, surplus ones aside, >= 1.
        pending_bytes: Maximum memory that all responses in progress hold together.
        fetch_seconds: Time limit of one fetch, its wait in the queue included.
    """

    threads: int = 4
    max_clients: int = 1000
    pending_bytes: int = 64 * 1024 * 1024
    fetch_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Overload:
    """Overload statistics of a server: gauges, and counts since its start.

    Attributes:
        waiting: Requests and pieces that wait for a thread now.
        running: Fetches from fibservers that run now.
        held_bytes: Memory that responses in progress hold now.
        rejections: Requests refused, by reason, and connections refused.
        cancelled: Fetches dropped because their last waiter disconnected.
        cut_off: Connections closed, by reason.
        pieces_dropped: How often a slow reader had to release the bytes held for it.
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
    limits: HttpLimits | None = None,
    root_path: str = "",
) -> "HttpServer":
    """Return a server that is ready to run.

    Call this in the process that runs the server: its threads do not survive a fork.

    Args:
        sites: At least one application.
        on_response: Called on the event loop with the record of each finished request; must be
            fast.
        limits: Limits of the server; None for the defaults.
        root_path: Path prefix, such as `/f`, that becomes SCRIPT_NAME.
    """
    return HttpServer(sites, on_response, limits or HttpLimits(), root_path)


class HttpServer:
    """HTTP server; see `create_server`."""

    def __init__(
        self,
        sites: Sequence[Site],
        on_response: Callable[[AccessRecord], None],
        limits: HttpLimits,
        root_path: str,
    ) -> None:
        """Create the event loop, threads and listeners; nothing is accepted before `run`."""
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
        self._deadline: float | None = None  # of draining; set by stop()
        self._next_cleanup = time.monotonic() + CLEANUP_SECONDS
        self._next_fetch_tick = 0.0
        settings = Adjustments(
            sockets=[site.listener for site in sites],
            ident=IDENT,
            channel_timeout=CHANNEL_TIMEOUT_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            # Clearing needs a wrapper around the application, which ignores these headers anyway.
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
        """Number of open connections."""
        return sum(len(listener.active_channels) for listener in self._listeners)

    @property
    def in_flight(self) -> int:
        """Number of requests in progress."""
        return sum(channel.is_answering for channel in self._channels())

    @property
    def iterations(self) -> int:
        """Number of iterations of the event loop: at least four per second unless it hangs."""
        return self._loop.iterations

    @property
    def overload(self) -> Overload:
        """Overload statistics; for any thread."""
        fetcher, held, admission = self._fetcher, self._held, self._admission
        rejections = dict(fetcher.rejections) | {"connections": admission.rejected}
        return Overload(
            fetcher.waiting,
            fetcher.running,
            held.size,
            rejections,
            fetcher.cancelled,
            dict(admission.cut_off),
            held.released,
        )

    def run(self) -> None:
        """Serve until `stop` is called, then drain until its deadline at the latest."""
        try:
            while self._deadline is None:
                wait_seconds = LOOP_SECONDS
                for listener in self._listeners:
                    with suppress(OSError):  # out of memory: the next iteration tries again
                        self._loop.refresh_events(
                            listener.socket.fileno()
                        )  # a pause may begin or end
                    if (pause_seconds := listener.paused_until - time.monotonic()) > 0:
                        wait_seconds = min(wait_seconds, pause_seconds)
                self._loop.run_once(wait_seconds)
                self._tick()
            self._drain()
        finally:
            self._close()

    def stop(self, drain_seconds: float) -> None:
        """Make `run` stop accepting, finish the requests in progress, and return.

        A signal handler or any thread may call this, and call it again to change the deadline.

        Args:
            drain_seconds: Time after which all remaining connections are closed, >= 0.
        """
        self._deadline = time.monotonic() + drain_seconds
        self._loop.wake()

    def _tick(self) -> None:
        """At intervals, enforce the time limits of fetches and connections."""
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
                channel.measure_read_rate(now)

    def _drain(self) -> None:
        self._server_context.is_draining = True
        for listener in self._listeners:
            listener.close()
        while True:
            for channel in self._channels():
                channel.close_if_idle()
            rest = (self._deadline or 0) - time.monotonic()
            if not self.connections or rest <= 0:
                return
            self._loop.run_once(min(rest, LOOP_SECONDS))
            self._tick()

    def _close(self) -> None:
        for channel in self._channels():
            channel.handle_close()
        self._fetcher.close()
        for listener in self._listeners:
            listener.close()
        self._loop.close()

    def _channels(self) -> list[Channel]:
        # Copied, since the event loop may change the maps while another thread reads them.
        channels = [list(listener.active_channels.values()) for listener in self._listeners]
        return list(chain.from_iterable(channels))


class _Listener:
    """Changes to the listeners of waitress, for TCP and Unix sockets."""

    channel_class: Any = Channel
    accepting: bool
    adj: Any
    _map: Any
    socket: Any
    fix_addr: Any
    set_socket_options: Any
    server_context: ServerContext
    cors: CorsPolicy | None
    parsed_headers: ParsedHeaderCache
    responses: ResponseCache
    active_channels: Any
    loop: Loop
    paused_until = 0.0

    def readable(self) -> bool:
        """Return whether to accept connections."""
        return self.accepting and time.monotonic() >= self.paused_until

    def handle_accept(self) -> None:
        """Accept pending connections, up to `ACCEPTS_PER_ITERATION`."""
        admission = self.server_context.admission
        for _ in range(ACCEPTS_PER_ITERATION):
            verdict = AdmissionDecision.SERVE
            if admission.is_full:
                if not self._has_pending:
                    return
                verdict = admission.admit()
                if verdict is AdmissionDecision.WAIT:
                    self.paused_until = time.monotonic() + NEWCOMER_SECONDS
                    return
            try:
                sock, address = self.socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # this client has disconnected already
            except OSError as error:
                # accept(2) may report a lack of descriptors although no connection is pending.
                if not self._has_pending:
                    return
                if not admission.make_room():
                    log.warning("cannot accept connections, retrying soon: %s", error)
                    self.paused_until = time.monotonic() + NEWCOMER_SECONDS
                    return
                continue
            if verdict is AdmissionDecision.REFUSE:
                sock.close()
                continue
            try:
                self.set_socket_options(sock)
                client = self.fix_addr(address)
                channel = self.channel_class(self, sock, client, self.adj, self._map)
            except Exception as error:  # disconnected already, or epoll is out of memory
                log.warning("cannot set up an accepted connection: %r", error)
                sock.close()
                continue
            channel.is_surplus = verdict is AdmissionDecision.SERVE_ONCE

    @property
    def _has_pending(self) -> bool:
        """Whether a connection is pending in the backlog."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def handle_error(self) -> None:
        """Log the current exception and pause; waitress would close the listener."""
        log.exception("cannot accept connections, retrying soon")
        self.paused_until = time.monotonic() + NEWCOMER_SECONDS

    def add_task(self, task: Any) -> None:
        """Do nothing: a `Channel` schedules its requests itself."""


class _TcpListener(_Listener, TcpWSGIServer):
    """Listener on a TCP socket."""

    def fix_addr(self, addr: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a client's address in the form that the application and the logs use."""
        return (plain_host(addr[0]), *addr[1:])


class _UnixListener(_Listener, UnixWSGIServer):
    """Listener on a Unix socket."""


def _listen(site: Site, settings: Adjustments, loop: Loop, context: ServerContext) -> Any:
    sock = site.listener
    listener_class: Any = _UnixListener if sock.family == socket.AF_UNIX else _TcpListener
    sockinfo = (sock.family, sock.type, sock.proto, sock.getsockname())
    listener = listener_class(
        site.application,
        map=loop,
        _sock=sock,
        dispatcher=context.fetcher,  # otherwise waitress starts threads of its own
        adj=settings,
        sockinfo=sockinfo,
        bind_socket=False,
    )
    listener.server_context = context
    listener.cors = site.cors
    listener.parsed_headers = ParsedHeaderCache()
    listener.loop = loop
    return listener
