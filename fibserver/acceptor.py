"""Acceptor process: one epoll loop that serves every socket.

                         ┌────────── epoll ──────────┐
    clients ─ connect ──>│ listeners                 │
    clients <─ replies ──│ connections ── streams    │──── task ───> worker × W
    signals ────────────>│ wake-up pipe   fair queue │<── outcome ──    │
                         └────────────────── ▲ ──────┘                  │
                                             └────── shared memory <────┘

The loop never blocks and never computes large numbers. Each iteration handles events, accepts
connections, runs maintenance once a second, serves the clients that are queued for loop time, and
dispatches tasks to workers. No step takes longer than a few milliseconds
(`fibserver.core.client_limits`). The order matters twice: connections are accepted after all other
events (`fibserver.network.connections` explains why), and tasks are dispatched after every step
that can create one.
"""

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from enum import Enum
from typing import TYPE_CHECKING

from fibcommon import digits
from fibcommon.addresses import Address, parse_address
from fibcommon.configuration.passwords import read_password
from fibcommon.formats import Format
from fibcommon.service.errors import SettingsError
from fibcommon.service.listeners import address_of, close_listener, open_listeners
from fibcommon.service.logs import configure_logging
from fibcommon.service.orphans import reap_orphans
from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from fibcommon.service.systemd import ActivatedSocket, Notifier
from fibserver.commands.session import ClientInfo
from fibserver.core.event_loop import EventLoop
from fibserver.core.listings import Listings
from fibserver.core.statistics import Statistics
from fibserver.engine.engine import Engine, Work
from fibserver.monitoring.info import format_info
from fibserver.monitoring.server_info import ServerInfo
from fibserver.monitoring.slow_log import SlowLog
from fibserver.network.connections import STOPPING, Clients
from fibserver.settings import ServerSettings
from fibserver.workers.worker import work

if TYPE_CHECKING:
    from fibserver.network.metrics_server import MetricsServer

__all__ = ["Acceptor"]

log = logging.getLogger(__name__)

GC_THRESHOLDS = (10_000, 50, 100)
"""With 5,000 clients a full collection pauses the loop for 50 ms. Connections and requests form no
reference cycles, so collections are rarely needed."""

TICK_SECONDS = 1.0
SLOT_SECONDS = 0.1
"""How often to look for a free slot while slice streams wait for one."""

METRICS_NAME = "metrics"
"""Name of the metrics socket in the systemd units."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Phase(Enum):
    """Lifecycle phase of the acceptor."""

    SERVING = "accepting connections and answering requests"
    DRAINING = "answering the requests received before the stop signal"
    SAVING = "saving the blocks missing from the snapshot"
    STOPPED = "stopped"


class Acceptor:
    """The server process.

    Attributes:
        settings: Settings in force.
        statistics: Counters since the start.
        slow_log: Recent slow requests.
        listings: Client listings under construction.
        password: Password that clients must send, None if none is required.
    """

    def __init__(
        self,
        settings: ServerSettings,
        reload: Callable[[], ServerSettings] | None = None,
        activated: Sequence[ActivatedSocket] = (),
        work: Work = work,
    ) -> None:
        """Open the listeners and the arena.

        Args:
            settings: Settings to start with.
            reload: Loads the settings again on SIGHUP, and raises SettingsError if they are
                invalid. By default nothing changes.
            activated: Listening sockets from systemd: those named `metrics` replace
                `metrics_listen`, the others `listen`.
            work: Main function of a worker.

        Raises:
            SettingsError: A listener would be exposed without a password, the password file
                cannot be read, or the arena cannot be created.
            ListenError: The server cannot listen on an address.
            OSError: The machine is short of something else, such as file descriptors.
        """
        self.settings = settings
        self.statistics = Statistics()
        self.slow_log = SlowLog()
        self.listings = Listings()
        self.password = _password(settings)
        self._reload_settings = reload or (lambda: settings)
        self._notifier = Notifier(os.environ)
        self._phase = Phase.SERVING
        self._run_id = os.urandom(20).hex()
        self._loop = EventLoop()
        self._started = self._loop.now
        self._next_tick = self._loop.now + TICK_SECONDS
        self._drain_deadline = float("inf")
        with ExitStack() as undo:
            passed = [entry.socket for entry in activated if entry.name != METRICS_NAME]
            listeners = passed or _open_listeners(settings, undo)
            self._addresses = [address_of(listener) for listener in listeners]
            settings.check_exposure(self._addresses)
            self._metrics = self._open_metrics(activated, undo)
            self._engine = Engine(settings, self._loop, self.statistics, work)
            undo.pop_all()
        self._clients = Clients(self, self._loop, self._engine, listeners)

    def _open_metrics(
        self, activated: Sequence[ActivatedSocket], undo: ExitStack
    ) -> "list[MetricsServer]":
        passed = [entry.socket for entry in activated if entry.name == METRICS_NAME]
        listeners = list(passed)
        if self.settings.metrics_listen and not passed:
            address = parse_address(self.settings.metrics_listen)
            listeners += open_listeners([address], "--metrics-listen")
        if not listeners:
            return []
        # Importing prometheus_client takes 30 ms, half as long as numpy.
        from fibserver.monitoring.metrics import metrics_registry
        from fibserver.network.metrics_server import MetricsServer

        registry = metrics_registry(self._server_info)
        servers = []
        for listener in listeners:
            server = MetricsServer(self._loop, listener, registry, self._unavailable_message)
            undo.callback(server.close)
            servers.append(server)
            log.info("metrics on http://%s/metrics", address_of(listener))
        return servers

    @property
    def addresses(self) -> list[Address]:
        """Addresses that clients can connect to, with the ports that the kernel assigned."""
        return self._addresses

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then answer the pending requests and return."""
        with SignalPipe(SIGNALS, ends_with_terminal=has_terminal()) as signals:
            self._loop.register(signals.fileno(), lambda _: self._on_signals(signals.read()))
            self._engine.pool.ensure_workers()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            addresses = ", ".join(map(str, self.addresses))
            log.info("ready on %s with %s workers", addresses, self.settings.workers)
            self._notifier.ready(f"serving on {addresses}")
            while self._phase is not Phase.STOPPED:
                self._loop.run_once(self._timeout())
                self._clients.accept()
                if self._loop.now >= self._next_tick:
                    self._tick()
                self._engine.far_blocks.wake_next_waiter()
                self._clients.serve()
                self._engine.pool.dispatch()
                if self._phase is not Phase.SERVING:
                    self._advance_shutdown()

    def _timeout(self) -> float:
        """Return how many seconds the loop may wait for events."""
        # `dispatch` runs before this: it may fail a block, which makes an error reply due now.
        timeout = min(self._next_tick, self._clients.next_due) - self._loop.now
        return min(timeout, SLOT_SECONDS) if self._engine.far_blocks.is_wanted else timeout

    def close(self) -> None:
        """Stop the workers, and close every socket and the arena.

        Every step runs even if an earlier one fails for lack of memory: a worker left alive would
        keep this process from exiting.
        """
        with ExitStack() as steps:
            steps.callback(self._notifier.close)
            steps.callback(self._loop.close)
            steps.callback(self._engine.close)
            steps.callback(self._clients.close)
            for server in self._metrics:
                steps.callback(server.close)

    # The interface for commands, `fibserver.commands.session.Server`.

    @property
    def unavailable_reason(self) -> tuple[str, str] | None:
        """Error code and message if clients should use another server, else None."""
        if self._phase is not Phase.SERVING:
            return "SHUTDOWN", STOPPING
        if not self._engine.is_healthy(self.settings.request_timeout):
            return "BUSY", "no worker has responded lately: try another server or retry later"
        return None

    def _unavailable_message(self) -> str:
        """Return the message of `unavailable_reason`, "" if there is none."""
        reason = self.unavailable_reason
        return reason[1] if reason else ""

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return self._loop.budget.clock()

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return the size in bytes of elements start to stop-1."""
        return self._engine.arrays[format].slice_size(start, stop)

    def info_text(self, sections: list[str]) -> str:
        """Return the text of INFO for these sections, or the default ones if there are none."""
        return format_info(self._server_info(), sections)

    def _server_info(self) -> ServerInfo:
        return ServerInfo(
            uptime_seconds=int(self._loop.now - self._started),
            now=self._loop.now,
            run_id=self._run_id,
            port=next((address.port for address in self.addresses if address.port), 0),
            connected_clients=len(self._clients),
            waiting_clients=self._clients.waiting,
            max_clients=self._clients.max_clients,
            output_bytes=self._clients.output_total.held_bytes,
            max_output_bytes=self.settings.max_output_bytes,
            statistics=self.statistics,
            slow_requests=self.slow_log.total,
            engine=self._engine,
        )

    def clients(self) -> Iterable[ClientInfo]:
        """Return a lazy iterator over the connected clients, in the order they connected."""
        return self._clients.infos()

    def client(self, client_id: int) -> ClientInfo | None:
        """Return information about a client, or None if it is not connected."""
        return self._clients.info_of(client_id)

    def close_client(self, client_id: int) -> None:
        """Close a client's connection."""
        self._clients.close_client(client_id)

    # Time and signals.

    def _tick(self) -> None:
        """Run periodic maintenance."""
        now = self._loop.now
        digits.prepare()  # not earlier: it would be a tenth of the time to the first reply
        self.statistics.sample(now)
        self._clients.tick()
        self._engine.tick(self.settings.request_timeout)
        for server in self._metrics:
            server.tick()
        reap_orphans({worker.pid for worker in self._engine.pool.workers})
        self._next_tick = now + self._notifier.tick_seconds(TICK_SECONDS)
        if self._notifier.watchdog_seconds and (
            self._engine.is_healthy(self.settings.request_timeout) or self._engine.lacks_workers
        ):
            self._notifier.watchdog()
        self._notifier.status(self._status())

    def _status(self) -> str:
        resident = sum(array.growth.published_bytes for array in self._engine.arrays)
        return (
            f"{len(self._clients)} clients, {self.statistics.calls} requests answered, "
            f"{resident >> 20} MiB of numbers in memory"
        )

    def _on_signals(self, signals: list[signal.Signals]) -> None:
        for received in signals:
            log.info("received %s", received.name)
            if self._phase is not Phase.SERVING:
                if received is not signal.SIGHUP:
                    self._phase = Phase.STOPPED
            elif received is signal.SIGHUP:
                self._reload()
            else:
                self._start_drain()
                if len(self._clients):
                    log.info("%s", drain_notice(received, self.settings.drain_timeout))

    def _reload(self) -> None:
        """Apply the settings that can change at run time, or none if any is invalid."""
        self._notifier.reloading()
        try:
            settings, changed, need_restart = self.settings.reloaded(self._reload_settings())
            settings.check_exposure(self.addresses)
            self.password = _password(settings, is_reload=True)
        except SettingsError as error:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)
        else:
            self.settings = settings
            self._clients.apply_settings()
            configure_logging(settings.log_level, settings.log_format)
            log.info("reloaded; changed: %s", ", ".join(changed) or "nothing")
            if need_restart:
                log.warning("a restart is needed for: %s", ", ".join(need_restart))
        self._notifier.ready(self._status())

    def _start_drain(self) -> None:
        self._phase = Phase.DRAINING
        self._notifier.stopping("answering pending requests", self.settings.drain_timeout)
        self._drain_deadline = self._loop.now + self.settings.drain_timeout
        self._next_tick = min(self._next_tick, self._drain_deadline)
        self._clients.drain()

    def _advance_shutdown(self) -> None:
        is_late = self._loop.now >= self._drain_deadline
        if self._phase is Phase.DRAINING and (is_late or not len(self._clients)):
            if len(self._clients):
                log.warning("drain timeout: %s clients still connected", len(self._clients))
                self._clients.close_with_error()
            self._phase = Phase.SAVING
        if self._phase is Phase.SAVING and (is_late or not self._engine.has_unsaved_blocks):
            self._phase = Phase.STOPPED


def _password(settings: ServerSettings, *, is_reload: bool = False) -> bytes | None:
    path = settings.password_file
    return read_password(path, is_reload=is_reload) if path else None


def _open_listeners(settings: ServerSettings, undo: ExitStack) -> list[socket.socket]:
    listeners = open_listeners([parse_address(text) for text in settings.listen])
    for listener in listeners:
        undo.callback(close_listener, listener)
    return listeners
