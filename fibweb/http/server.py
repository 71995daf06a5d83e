"""The server: its sockets, its loop and threads, its limits, and an end that loses no request."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher

from fibweb.http.channel import Channel, Lanes
from fibweb.http.exchange import Exchange, RequestIds
from fibweb.http.loop import Loop
from fibweb.http.plain import PlainRequests
from fibweb.http.replay import Replays

__all__ = ["HttpServer", "create_server"]

IDENT = "fibweb"
"""What the Server header says."""

CONNECTION_LIMIT = 1000
"""Waitress's default of 100 lets that many idle browsers shut out everyone else. It is below the
1,024 descriptors that a process usually may have, with room for those to fibservers."""

CHANNEL_TIMEOUT_SECONDS = 120
"""Longer than proxies and browsers keep a connection that they do not use."""

CLEANUP_SECONDS = 5
"""Between two looks for connections whose time is over."""

MAX_HEADER_BYTES = 16 * 1024
"""Of a request line and headers: twice what nginx and Apache take."""

MAX_BODY_BYTES = 16 * 1024
"""Of a request: no route wants a body, but clients may send one."""

ACCEPTS_PER_TURN = 16
"""Connections accepted at a time, so that a crowd of new ones does not hold up the others."""

LOOP_SECONDS = 0.25
"""The longest wait for something to happen; time limits are looked at that often."""

THREAD_END_SECONDS = 1
"""For threads still busy when the time for draining is over; they end with the process."""


def create_server(
    app: Callable[..., Any],
    listeners: Sequence[socket.socket],
    *,
    threads: int,
    on_response: Callable[[Exchange], None],
) -> "HttpServer":
    """Return a server that is ready to run.

    Make it in the process that runs it: its threads do not survive a fork.

    Args:
        app: the WSGI application. It is run on the event loop where `environ["fibweb.may_wait"]`
            is False; there it raises `MustWait` instead of waiting. It must not trust headers
            such as Forwarded: they come from anyone.
        listeners: listening sockets, TCP or Unix, at least one. The server closes them when it
            stops; the file of a Unix socket is the caller's to remove.
        threads: how many requests may wait for fibservers at a time, >= 1.
        on_response: called on the event loop with each answered request; it must be quick.
    """
    return HttpServer(app, listeners, threads, Lanes(on_response, Replays(), RequestIds()))


class HttpServer:
    """An HTTP server; see `create_server`."""

    def __init__(
        self,
        app: Callable[..., Any],
        listeners: Sequence[socket.socket],
        threads: int,
        lanes: Lanes,
    ) -> None:
        """Start the threads; nothing is accepted before `run`."""
        # Waitress warns of each request that has to wait for a thread; queue_depth tells of them.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._lanes = lanes
        self._loop = Loop()
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(threads)
        self._deadline: float | None = None  # of draining, once stop() was called
        limits = Adjustments(
            sockets=list(listeners),
            ident=IDENT,
            connection_limit=CONNECTION_LIMIT,
            channel_timeout=CHANNEL_TIMEOUT_SECONDS,
            cleanup_interval=CLEANUP_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            # Clearing them takes a layer around the application, which trusts none of them anyway.
            clear_untrusted_proxy_headers=False,
        )
        self._listeners = [
            _listen(app, listener, limits, self._loop, self._threads, lanes)
            for listener in listeners
        ]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._channels())

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
        """How many requests and segments wait for a thread."""
        return len(self._threads.queue)

    def run(self) -> None:
        """Serve until `stop` was called and all is answered, or its time is over."""
        try:
            while self._deadline is None:
                for listener in self._listeners:
                    self._loop.watch(listener.socket.fileno())  # it may be full, or no longer
                self._loop.turn(LOOP_SECONDS)
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

    def _drain(self) -> None:
        self._lanes.is_draining = True
        for listener in self._listeners:
            listener.close()
        while True:
            for channel in self._channels():
                channel.leave()
            rest = (self._deadline or 0) - time.monotonic()
            if not self._channels() or rest <= 0:
                return
            self._loop.turn(min(rest, LOOP_SECONDS))

    def _close(self) -> None:
        for channel in self._channels():
            channel.handle_close()
        self._threads.shutdown(timeout=THREAD_END_SECONDS)
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
    lanes: Lanes
    plain_requests: PlainRequests
    active_channels: Any
    loop: Loop

    def handle_accept(self) -> None:
        """Accept the clients that wait, up to a number."""
        for _ in range(ACCEPTS_PER_TURN):
            before = len(self.active_channels)
            super().handle_accept()  # type: ignore[misc]
            if len(self.active_channels) == before:
                return

    def add_task(self, task: Any) -> None:
        """Do nothing: a channel begins with its requests itself, see there."""

    def maintenance(self, now: float) -> None:
        """Close the connections of clients that have been waited for too long."""
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(time.monotonic()):
                channel.handle_close()


class _TcpListener(_Listener, TcpWSGIServer):
    """A TCP socket that is listened on."""


class _UnixListener(_Listener, UnixWSGIServer):
    """A Unix socket that is listened on."""


def _listen(
    app: Callable[..., Any],
    listener: socket.socket,
    limits: Adjustments,
    loop: Loop,
    threads: ThreadedTaskDispatcher,
    lanes: Lanes,
) -> Any:
    kind: Any = _UnixListener if listener.family == socket.AF_UNIX else _TcpListener
    sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())
    made = kind(
        app,
        map=loop,
        _sock=listener,
        dispatcher=threads,
        adj=limits,
        sockinfo=sockinfo,
        bind_socket=False,
    )
    made.lanes = lanes
    made.plain_requests = PlainRequests()
    made.loop = loop
    return made
