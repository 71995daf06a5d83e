"""HTTP server: listeners, event loop, threads, limits, and a stop that loses no request."""

import logging
import select
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments

from fibcommon.service.listeners import address_of
from fibweb.http.cors import CorsPolicy
from fibweb.overload.connection_admission import Admission
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.channel import Channel, ServerContext
from fibweb.server.event_loop import Loop
from fibweb.server.fetch_threads import FetchThreads
from fibweb.server.listener import Listener
from fibweb.server.parsed_headers import ParsedHeaderCache
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES
from fibweb.server.request_context import SiteContext
from fibweb.server.response import IDENT
from fibweb.server.response_cache import ResponseCache
from fibweb.stats.access_record import AccessRecord, RequestIds

__all__ = ["HttpLimits", "HttpServer", "Site"]

log = logging.getLogger(__name__)

CLEANUP_SECONDS = 1.0
"""Interval of the checks of connections for their time limits."""

LOOP_SECONDS = 0.25
"""Longest wait for events, and interval of the checks of fetches for their time limits."""


class Site(NamedTuple):
    """WSGI application and the socket where it is served.

    Attributes:
        application: Runs on the event loop, and calls `environ["fibweb.fetch"]` instead of
            blocking; see `fibweb.content.fetch_request`. It must not trust headers such as
            Forwarded, which any client can send.
        listener: A listening socket, TCP or Unix. The server closes it when it stops; the caller
            removes the file of a Unix socket.
        cors: CORS headers of errors that the server makes itself; None to send none.
        parameters: Names of the query parameters on whose values the immutable responses of the
            application depend; None if it may be any.
    """

    application: WSGIApplication
    listener: socket.socket
    cors: CorsPolicy | None = None
    parameters: Collection[str] | None = None


class HttpLimits(NamedTuple):
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


DEFAULT_LIMITS = HttpLimits()


class _Settings(Adjustments):
    """Settings without the default address of waitress, whose lookup would delay each start."""

    listen: list[str] = []  # noqa: RUF012 - as in its base class


class HttpServer:
    """HTTP server.

    Attributes:
        fetcher: Runs fetches from fibservers.
        held: Memory that responses in progress hold.
        admission: Decides which connections to accept and to close.

    Any thread may read the counters of the three.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        on_response: Callable[[AccessRecord], None],
        limits: HttpLimits = DEFAULT_LIMITS,
        root_path: str = "",
    ) -> None:
        """Create the event loop, threads and listeners; nothing is accepted before `run`.

        Call this in the process that runs the server: its threads do not survive a fork.

        Args:
            sites: At least one application.
            on_response: Called on the event loop with the record of each finished request; must
                be fast.
            limits: Limits of the server.
            root_path: Path prefix, such as `/f`, that becomes SCRIPT_NAME.
        """
        self._loop = Loop()
        self.fetcher = FetchThreads(limits.threads, limits.fetch_seconds, self._loop)
        self.held = HeldBytes(limits.pending_bytes)
        self._channels: set[Channel] = set()
        self.admission = Admission(limits.max_clients, self._channels, time.monotonic)
        self._deadline: float | None = None  # when draining ends; set by stop()
        self._next_cleanup = time.monotonic() + CLEANUP_SECONDS
        self._next_fetch_tick = 0.0
        settings = _Settings(
            sockets=[site.listener for site in sites],
            ident=IDENT,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            # Clearing needs a wrapper around the application, which ignores these headers anyway.
            clear_untrusted_proxy_headers=False,
            url_prefix=root_path,
        )
        request_ids = RequestIds()
        responses = {id(site.application): ResponseCache(site.parameters) for site in sites}
        self._listeners = []
        for site in sites:
            address = address_of(site.listener)
            port = str(address.path or address.port)
            context = ServerContext(
                SiteContext(site.application, settings, port, site.cors),
                self._loop,
                self._channels,
                on_response,
                request_ids,
                self.fetcher,
                self.held,
                self.admission,
                responses[id(site.application)],
                ParsedHeaderCache(),
            )
            self._listeners.append(Listener(site.listener, context))

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._channels)

    @property
    def in_flight(self) -> int:
        """Number of requests in progress."""
        return sum(channel.is_answering for channel in self._all_channels())

    @property
    def iterations(self) -> int:
        """Number of iterations of the event loop: at least four per second unless it hangs."""
        return self._loop.iterations

    def run(self) -> None:
        """Serve until `stop` is called, then drain until its deadline at the latest."""
        try:
            while self._deadline is None:
                wait_seconds = LOOP_SECONDS
                for listener in self._listeners:
                    pause_seconds = listener.paused_until - time.monotonic()
                    events = select.EPOLLIN
                    if pause_seconds > 0:
                        events, wait_seconds = 0, min(wait_seconds, pause_seconds)
                    with suppress(OSError):  # out of memory: the next iteration tries again
                        self._loop.set_events(listener.fileno(), events)
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
            self.fetcher.tick()
        if now < self._next_cleanup:
            return
        self._next_cleanup = now + CLEANUP_SECONDS
        for channel in self._all_channels():
            if channel.is_overdue(now):
                channel.time_out()
            else:
                channel.measure_read_rate(now)

    def _drain(self) -> None:
        for listener in self._listeners:
            listener.context.is_draining = True
            listener.close()
        while True:
            for channel in self._all_channels():
                channel.close_if_idle()
            rest = (self._deadline or 0) - time.monotonic()
            if not self.connections or rest <= 0:
                return
            self._loop.run_once(min(rest, LOOP_SECONDS))
            self._tick()

    def _close(self) -> None:
        for channel in self._all_channels():
            channel.close()
        self.fetcher.close()
        for listener in self._listeners:
            listener.close()
        self._loop.close()

    def _all_channels(self) -> list[Channel]:
        # Copied, since the event loop may change the set while another thread reads it.
        return list(self._channels)
