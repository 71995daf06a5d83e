"""One process that answers HTTP: the application on its server, and who looks after them.

    main thread: signals, ticks, systemd or supervisor, embedded fibserver
         │ stop            ▲ ended
         ▼                 │
    thread "http": event loop ── WouldBlock ──> threads that ask fibservers
         │ reads memory
         ▼
    threads "readiness", "status": ask the fibservers how they are

Once a second the main thread shows the process's figures on the notice board, tells who watches
it that all is well, and looks after the embedded fibserver. It goes on doing so while the server
drains.
"""

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil

from fibcommon.service.admission import affordable_connections
from fibcommon.service.errors import SettingsError
from fibcommon.service.listeners import remove_socket_file
from fibcommon.service.logs import configure_logging
from fibcommon.service.machine import affordable_bytes
from fibcommon.service.orphans import reap_orphans
from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from fibcommon.service.systemd import Notifier
from fibweb.http.cors import CrossOriginReading
from fibweb.overload.admission import SURPLUS_CONNECTIONS
from fibweb.processes.composition import Composition, compose, memory_parts
from fibweb.processes.embedded import STOP_SECONDS, EmbeddedServer
from fibweb.server.server import HttpServer, Limits, Site, create_server
from fibweb.settings import Settings, reloaded
from fibweb.stats.access_log import AccessLog
from fibweb.stats.access_record import AccessRecord
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.process_metrics import gather, process_figures
from fibweb.stats.shared_stats import SharedStats

__all__ = [
    "SIGNALS",
    "STOP_SIGNALS",
    "TICK_SECONDS",
    "ServiceContext",
    "WebWorker",
    "reload_settings",
]

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Those that would end the process if it did not know better."""

SIGNALS = (*STOP_SIGNALS, signal.SIGCHLD)

SPARE_DESCRIPTORS = 48
"""For listeners, logs, modules and temporary files, whatever the clients do."""


@dataclass(frozen=True)
class ServiceContext:
    """What all serving processes have in common.

    Attributes:
        settings: in force at the start.
        reload: returns the settings as they are by now; raises SettingsError.
        listeners: listening sockets.
        metrics_listeners: those where the metrics are; without any they are on the others.
        servers: the addresses of the fibservers.
        password: of the fibservers.
        board: for the figures, a row for each process.
        started: is called once, when clients can connect.
    """

    settings: Settings
    reload: Callable[[], Settings]
    listeners: Sequence[socket.socket]
    metrics_listeners: Sequence[socket.socket]
    servers: str
    password: str | None
    board: SharedStats
    started: Callable[[], None]


class WebWorker:
    """The process, from its start to its end."""

    def __init__(
        self,
        service: ServiceContext,
        row: int = 0,
        *,
        supervisor: socket.socket | None = None,
        notifier: Notifier | None = None,
        embedded: EmbeddedServer | None = None,
    ) -> None:
        """Describe the process, in the process itself: nothing here survives a fork.

        Args:
            service: what it has in common with others.
            row: its own on the notice board.
            supervisor: the supervisor's ear: hears a byte with each tick, and its end is ours;
                None if there is no supervisor.
            notifier: tells systemd, if there is no supervisor to do so.
            embedded: the fibserver to look after, likewise.
        """
        self._service = service
        self._settings = service.settings
        self._row = row
        self._supervisor = supervisor
        self._notifier = notifier or Notifier({})
        self._embedded = embedded
        self._inherited = MetricValues.decode(service.board.read(row)).counters
        self._board_lock = threading.Lock()
        self._access_log = AccessLog()
        self._is_stopping = False
        self._turns = -1  # of the event loop, at the last tick
        self._ended = os.eventfd(0)
        self._failure: BaseException | None = None
        self._process = psutil.Process()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or the supervisor's end, then answer what was asked."""
        with ExitStack() as stack:
            stack.callback(os.close, self._ended)
            may_spin = self._supervisor is None  # or the supervisor ends this process
            pipe = SignalPipe(SIGNALS, ends_with_terminal=may_spin and has_terminal())
            signals = stack.enter_context(pipe)
            if self._supervisor is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the supervisor will tell
            reserve = SPARE_DESCRIPTORS + SURPLUS_CONNECTIONS + self._settings.max_clients
            self._server_connections = affordable_connections(
                self._settings.max_connections, reserve, "max_connections"
            )
            composition, self._http = self._new_server(stack)
            self._client, self._counts = composition.client, composition.counts
            self._access_log.configure(
                is_on=self._settings.access_log, format=self._settings.log_format
            )
            thread = threading.Thread(target=self._serve, name="http")
            thread.start()
            try:
                if self._supervisor is None:
                    self._service.started()
                self._notifier.ready("serving")
                self._look_after(signals)
            except BaseException:
                self._http.stop(0)
                raise
            finally:
                thread.join()
                signals.ignore(*STOP_SIGNALS)
        if self._failure is not None:
            raise self._failure

    def _new_server(self, stack: ExitStack) -> tuple[Composition, HttpServer]:
        metrics_listeners = self._service.metrics_listeners
        composition = compose(
            self._settings,
            self._service.servers,
            self._service.password,
            self._gather,
            stack,
            max_connections=self._server_connections,
            has_metrics=not metrics_listeners,
        )
        origins = self._settings.allowed_origins
        cross_origin = CrossOriginReading(origins) if origins else None
        server = create_server(
            [
                *(Site(composition.app, each, cross_origin) for each in self._service.listeners),
                *(Site(composition.metrics_app, each) for each in metrics_listeners),
            ],
            on_response=self._on_response,
            limits=self._limits(),
            root_path=self._settings.root_path,
        )
        return composition, server

    def _limits(self) -> Limits:
        settings = self._settings
        reserve = SPARE_DESCRIPTORS + SURPLUS_CONNECTIONS + self._server_connections
        return Limits(
            settings.threads,
            affordable_connections(settings.max_clients, reserve, "max_clients"),
            affordable_bytes(
                "max_output_bytes", settings.max_output_bytes, memory_parts(settings)
            ),
            settings.timeout,
        )

    def _on_response(self, exchange: AccessRecord) -> None:
        self._counts.record(exchange)
        self._access_log.write(exchange)

    def _serve(self) -> None:
        """Run the event loop; whatever becomes of it, the main thread hears of its end."""
        try:
            self._http.run()
        except BaseException as error:
            self._failure = error
        finally:
            os.eventfd_write(self._ended, 1)

    # The main thread.

    def _look_after(self, signals: SignalPipe) -> None:
        """Wait for what happens, until the event loop has ended."""
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        poller.register(signals, select.POLLIN)
        if self._supervisor is not None:
            poller.register(self._supervisor, select.POLLIN)
        next_tick = 0.0
        while True:
            now = time.monotonic()
            if now >= next_tick:
                self._tick()
                reap_orphans({self._embedded.pid} if self._embedded is not None else ())
                next_tick = now + self._tick_seconds()
            wait_seconds = next_tick - now
            if self._embedded is not None:
                wait_seconds = min(wait_seconds, self._embedded.restart_if_dead())
            for fd, _ in poller.poll(max(0, wait_seconds) * 1000):
                if fd == self._ended:
                    return
                if fd == signals.fileno():
                    for number in signals.take():
                        self._on_signal(number)
                else:
                    poller.unregister(fd)
                    log.error("the supervisor is gone")
                    self._stop()

    def _tick_seconds(self) -> float:
        return min(TICK_SECONDS, (self._notifier.watchdog_seconds or TICK_SECONDS) / 2)

    def _tick(self) -> None:
        figures = self._gather()
        turns, self._turns = self._turns, self._http.turns
        if self._turns != turns:  # the event loop lives, or who watches us is to know
            if self._supervisor is not None:
                with suppress(OSError):  # full, because it is stopped; or gone, as we shall hear
                    self._supervisor.send(b".", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            self._notifier.watchdog()
        self._notifier.status(status_line(figures))

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            return  # the embedded server is looked after in any case
        if number is signal.SIGHUP:
            self._reload()
        else:
            if self._supervisor is None:
                log.info("received %s", number.name)
                if self._http.in_flight and not self._is_stopping:
                    log.info("%s", drain_notice(number, self._settings.drain_timeout))
            self._stop()

    def _stop(self) -> None:
        """Finish what was asked; called again, leave it."""
        seconds = 0 if self._is_stopping else self._settings.drain_timeout
        rest = STOP_SECONDS if self._embedded is not None else 0
        self._notifier.stopping("answering what was asked", seconds + rest)
        if self._supervisor is None:  # the event loop is about to close the listeners
            for listener in self._service.listeners:
                remove_socket_file(listener)
        if self._is_stopping:
            self._client.close()  # ends the calls that threads wait for
        self._http.stop(seconds)
        self._is_stopping = True

    def _reload(self) -> None:
        self._notifier.reloading()
        is_telling = self._supervisor is None
        self._settings = reload_settings(self._settings, self._service.reload, is_telling)
        self._access_log.configure(
            is_on=self._settings.access_log, format=self._settings.log_format
        )
        self._notifier.ready("serving")

    # Figures.

    def _gather(self) -> MetricValues:
        """Show the figures of this process, and return those of all."""
        with self._board_lock:
            self._service.board.write(self._row, self._figures().encode())
        return gather(self._service.board)

    def _figures(self) -> MetricValues:
        overload = self._http.overload
        counters: Samples = {
            ("fetches_cancelled",): overload.cancelled,
            ("pieces_dropped",): overload.pieces_dropped,
        }
        gauges: Samples = {
            ("connections",): self._http.connections,
            ("in_flight",): self._http.in_flight,
            ("queue_depth",): overload.waiting,
            ("fetches_running",): overload.running,
            ("held_bytes",): overload.held_bytes,
        }
        for reason, count in overload.rejections.items():
            counters["rejections", reason] = count
        for reason, count in overload.cut_off.items():
            counters["connections_cut_off", reason] = count
        figures = process_figures(self._counts, self._client, self._process)
        return figures.plus(MetricValues(counters, gauges)).plus(MetricValues(self._inherited, {}))


def status_line(figures: MetricValues) -> str:
    """Return how the service is doing, in a line for `systemctl status`."""
    answered = sum(value for key, value in figures.counters.items() if key[0] == "requests")
    clients = figures.gauges.get(("connections",), 0)
    return f"{clients:.0f} clients, {answered:.0f} requests answered"


def reload_settings(
    current: Settings, fresh: Callable[[], Settings], is_telling: bool
) -> Settings:
    """Apply the settings that can change while serving; keep all if any is bad.

    Args:
        current: in force.
        fresh: returns those that a start would have; raises SettingsError.
        is_telling: whether to tell the log, which one of several processes does.

    Returns:
        the settings in force from now on.
    """
    try:
        settings, changed, left = reloaded(current, fresh())
    except SettingsError as error:
        if is_telling:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)
        return current
    configure_logging(settings.log_level, settings.log_format)
    if is_telling:
        log.info("reloaded; changed: %s", ", ".join(changed) or "nothing")
        if left:
            log.warning("a restart is needed for: %s", ", ".join(left))
    return settings
