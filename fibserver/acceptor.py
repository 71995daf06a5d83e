"""The acceptor: one process, one epoll loop, every socket.

                         ┌────────── epoll ──────────┐
    clients ─ connect ──>│ listeners                 │
    clients <─ replies ──│ connections ── answers    │──── task ───> worker × W
    signals ────────────>│ wake-up pipe   fair queue │<── outcome ──    │
                         └────────────────── ▲ ──────┘                  │
                                             └────── shared memory <────┘

The loop never computes a big number and never blocks. One turn of it: wait for events and handle
each; accept; once a second, look after what no event tells of; serve the clients that wait for
loop time, and those whose blocks were finished in this turn; give workers tasks. No step takes
longer than some milliseconds (`fibserver.core.overload`). The order matters twice. Connections are
accepted last of all events (`fibserver.network.connections` says why). Tasks are handed out after
everything that can ask for one.
"""

import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from enum import Enum

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
from fibserver.monitoring.info import ServerInfo, format_info
from fibserver.monitoring.metrics import metrics_registry
from fibserver.monitoring.slow_log import SlowLog
from fibserver.network.connections import Clients
from fibserver.network.metrics_server import MetricsServer
from fibserver.settings import Settings, reloaded
from fibserver.workers.worker import work

__all__ = ["Acceptor"]

log = logging.getLogger(__name__)

GC_THRESHOLDS = (10_000, 50, 100)
"""A full garbage collection stops the loop for 50 ms when there are 5,000 clients. What is made
and closed here has no cycles, so it is hardly ever needed."""

TICK_SECONDS = 1.0
SLOT_SECONDS = 0.1
"""How often a slot is looked for when answers wait for one."""

METRICS_NAME = "metrics"
"""What systemd calls the socket for metrics."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Phase(Enum):
    """What the acceptor is doing."""

    SERVING = "accepting and answering"
    DRAINING = "answering what was asked before the end was asked for"
    SAVING = "saving what the snapshot lacks"
    STOPPED = "done"


class Acceptor:
    """The server process.

    Attributes:
        settings: in force.
        statistics: what has happened so far.
        slow_log: which requests were slow.
        listings: lists of clients that are being made.
        password: what clients have to say, None for nothing.
    """

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings] | None = None,
        activated: Sequence[ActivatedSocket] = (),
        work: Work = work,
    ) -> None:
        """Open the listeners and the arena.

        Args:
            settings: how to serve.
            reload: returns the settings as they are by now; raises SettingsError.
            activated: listening sockets passed at start: those named `metrics` replace
                `metrics_listen`, the others `listen`.
            work: the main function of a worker.

        Raises:
            SettingsError: there is no password where one is wanted.
            ListenError: an address cannot be listened on.
            OSError: there is no room in /dev/shm.
        """
        self.settings = settings
        self.statistics = Statistics()
        self.slow_log = SlowLog()
        self.listings = Listings()
        self.password = _password(settings)
        self._reload_settings = reload or (lambda: settings)
        self._notifier = Notifier(os.environ)
        self._phase = Phase.SERVING
        self._run_id = secrets.token_hex(20)
        self._loop = EventLoop()
        self._started = self._loop.now
        self._next_tick = self._loop.now + TICK_SECONDS
        self._drain_deadline = float("inf")
        with ExitStack() as undo:
            passed = [each.socket for each in activated if each.name != METRICS_NAME]
            listeners = passed or _open_listeners(settings, undo)
            self._addresses = [address_of(listener) for listener in listeners]
            settings.check_exposure(self._addresses)
            self._metrics = self._open_metrics(activated, undo)
            self._engine = Engine(settings, self._loop, self.statistics, work)
            undo.pop_all()
        self._clients = Clients(self, self._loop, self._engine, listeners)

    def _open_metrics(
        self, activated: Sequence[ActivatedSocket], undo: ExitStack
    ) -> list[MetricsServer]:
        passed = [each.socket for each in activated if each.name == METRICS_NAME]
        listeners = list(passed)
        if self.settings.metrics_listen and not passed:
            address = parse_address(self.settings.metrics_listen)
            listeners += open_listeners([address], "--metrics-listen")
        registry = metrics_registry(self._facts)
        servers = []
        for listener in listeners:
            server = MetricsServer(self._loop, listener, registry)
            undo.callback(server.close)
            servers.append(server)
            log.info("metrics on http://%s/metrics", address_of(listener))
        return servers

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect, with the ports that the kernel chose."""
        return self._addresses

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then answer what was asked, and return."""
        with SignalPipe(SIGNALS, ends_with_terminal=has_terminal()) as signals:
            self._loop.register(signals.fileno(), lambda _: self._on_signals(signals.take()))
            self._engine.pool.ensure_workers()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            where = ", ".join(map(str, self.addresses))
            log.info("ready on %s with %s workers", where, self.settings.workers)
            self._notifier.ready(f"serving on {where}")
            while self._phase is not Phase.STOPPED:
                self._loop.turn(self._timeout())
                self._clients.accept()
                if self._loop.now >= self._next_tick:
                    self._tick()
                self._engine.scratch.wake_next_waiter()
                self._clients.serve()
                self._engine.pool.dispatch()
                if self._phase is not Phase.SERVING:
                    self._go_on_to_end()

    def _timeout(self) -> float:
        """Return how long the loop may wait for events."""
        # Handing out can fail a block for good, which leaves an error to send: that is due now.
        timeout = min(self._next_tick, self._clients.next_due) - self._loop.now
        return min(timeout, SLOT_SECONDS) if self._engine.scratch.is_wanted else timeout

    def close(self) -> None:
        """End the workers, and close every socket and the arena.

        Each step is taken even if one before it fails for want of memory: a worker that is not
        ended would keep this process from ending.
        """
        with ExitStack() as steps:
            steps.callback(self._notifier.close)
            steps.callback(self._loop.close)
            steps.callback(self._engine.close)
            steps.callback(self._clients.close)
            for server in self._metrics:
                steps.callback(server.close)

    # What commands ask.

    @property
    def unavailable_reason(self) -> tuple[str, str] | None:
        """Why clients had better ask another server, as code and message of an error; or None."""
        if self._phase is not Phase.SERVING:
            return "SHUTDOWN", "the server is stopping: ask another, or again later"
        if not self._engine.is_healthy(self.settings.request_timeout):
            return "BUSY", "no worker has come back lately: ask another, or again later"
        return None

    def monotonic(self) -> float:
        """Return the time: monotonic, in seconds."""
        return self._loop.budget.clock()

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return the size in bytes of elements start to stop-1."""
        return self._engine.arrays[format].slice_size(start, stop)

    def information(self, sections: list[str]) -> str:
        """Return the text of INFO for these sections, or for the usual ones."""
        return format_info(self._facts(), sections)

    def _facts(self) -> ServerInfo:
        return ServerInfo(
            uptime_seconds=int(self._loop.now - self._started),
            now=self._loop.now,
            run_id=self._run_id,
            port=next((each.port for each in self.addresses if each.port), 0),
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
        """Return the facts of all clients, in the order they came, as they are asked for."""
        return self._clients.facts()

    def client(self, client_id: int) -> ClientInfo | None:
        """Return the facts of one client, None if it is not connected."""
        return self._clients.facts_of(client_id)

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        self._clients.close_client(client_id)

    # Time and signals.

    def _tick(self) -> None:
        """Look after what no event tells of."""
        now = self._loop.now
        self.statistics.sample(now)
        self._clients.tick()
        self._engine.tick(self.settings.request_timeout)
        for server in self._metrics:
            server.tick()
        reap_orphans({worker.pid for worker in self._engine.pool.workers})
        self._next_tick = now + TICK_SECONDS
        watchdog_seconds = self._notifier.watchdog_seconds
        if watchdog_seconds:
            self._next_tick = min(self._next_tick, now + watchdog_seconds / 2)
            if self._engine.is_healthy(self.settings.request_timeout) or self._engine.is_short:
                self._notifier.watchdog()
        self._notifier.status(self._status())

    def _status(self) -> str:
        resident = sum(array.growth.published_bytes for array in self._engine.arrays)
        return (
            f"{len(self._clients)} clients, {self.statistics.calls} requests answered, "
            f"{resident >> 20} MiB of numbers in memory"
        )

    def _on_signals(self, signals: list[signal.Signals]) -> None:
        for number in signals:
            log.info("received %s", number.name)
            if self._phase is not Phase.SERVING:
                if number is not signal.SIGHUP:
                    self._phase = Phase.STOPPED
            elif number is signal.SIGHUP:
                self._reload()
            else:
                self._start_drain()
                if len(self._clients):
                    log.info("%s", drain_notice(number, self.settings.drain_timeout))

    def _reload(self) -> None:
        """Apply the settings that can change while serving; keep all if any is bad."""
        self._notifier.reloading()
        try:
            settings, changed, left = reloaded(self.settings, self._reload_settings())
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
            if left:
                log.warning("a restart is needed for: %s", ", ".join(left))
        self._notifier.ready(self._status())

    def _start_drain(self) -> None:
        self._phase = Phase.DRAINING
        self._notifier.stopping("answering what was asked", self.settings.drain_timeout)
        self._drain_deadline = self._loop.now + self.settings.drain_timeout
        self._next_tick = min(self._next_tick, self._drain_deadline)
        self._clients.finish()

    def _go_on_to_end(self) -> None:
        is_late = self._loop.now >= self._drain_deadline
        if self._phase is Phase.DRAINING and (is_late or not len(self._clients)):
            if len(self._clients):
                log.warning("%s clients unanswered at the end", len(self._clients))
                self._clients.abandon()
            self._phase = Phase.SAVING
        if self._phase is Phase.SAVING and (is_late or not self._engine.has_to_save):
            self._phase = Phase.STOPPED


def _password(settings: Settings, *, is_reload: bool = False) -> bytes | None:
    path = settings.password_file
    return read_password(path, is_reload=is_reload) if path else None


def _open_listeners(settings: Settings, undo: ExitStack) -> list[socket.socket]:
    listeners = open_listeners([parse_address(text) for text in settings.listen])
    for listener in listeners:
        undo.callback(close_listener, listener)
    return listeners
