"""Serving process: runs the HTTP server, and monitors it on the main thread.

    main thread: signals, ticks, systemd or supervisor, embedded fibserver
         │ stop            ▲ ended
         ▼                 │
    thread "http": event loop ── WouldBlock ──> threads that fetch from fibservers
         │ reads memory
         ▼
    threads "readiness", "status": probe the fibservers

Once a second the main thread publishes the process's metrics, sends a heartbeat to systemd or the
supervisor, and checks the embedded fibserver. It continues to do so while the server drains.
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
from typing import NamedTuple

from fibcommon.digits import prepare
from fibcommon.service.admission import affordable_connections
from fibcommon.service.errors import SettingsError
from fibcommon.service.listeners import remove_socket_file
from fibcommon.service.logs import configure_logging
from fibcommon.service.orphans import reap_orphans
from fibcommon.service.resource_limits import affordable_bytes
from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from fibcommon.service.systemd import Notifier
from fibweb.http.cors import CorsPolicy
from fibweb.http.parameters import PARAMETERS
from fibweb.overload.connection_admission import SURPLUS_CONNECTIONS
from fibweb.processes.composition import Composition, compose, memory_parts
from fibweb.processes.embedded import EmbeddedServer, stop_seconds
from fibweb.server.server import HttpLimits, HttpServer, Site
from fibweb.settings import WebSettings
from fibweb.stats.access_log import AccessLog
from fibweb.stats.access_record import AccessRecord
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.process_metrics import gather, process_values
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
"""Signals whose default action ends the process."""

SIGNALS = (*STOP_SIGNALS, signal.SIGCHLD)

SPARE_DESCRIPTORS = 48
"""Descriptors reserved for listeners, logs, modules and temporary files."""


class ServiceContext(NamedTuple):
    """State that all serving processes share.

    Attributes:
        settings: Settings at the start.
        reload: Reads the settings again; raises SettingsError.
        listeners: Listening sockets.
        metrics_listeners: Listening sockets for `/metrics`; if empty, `listeners` serve it.
        servers: Addresses of the fibservers, separated by commas.
        password: Password of the fibservers.
        stats: Shared statistics, one row per process.
        started: Called once, when clients can connect.
    """

    settings: WebSettings
    reload: Callable[[], WebSettings]
    listeners: Sequence[socket.socket]
    metrics_listeners: Sequence[socket.socket]
    servers: str
    password: str | None
    stats: SharedStats
    started: Callable[[], None]


class WebWorker:
    """Process that accepts and answers HTTP requests."""

    def __init__(
        self,
        service: ServiceContext,
        row: int = 0,
        *,
        supervisor: socket.socket | None = None,
        notifier: Notifier | None = None,
        embedded: EmbeddedServer | None = None,
    ) -> None:
        """Prepare the process; call this after the fork.

        Args:
            service: Context shared with the other processes.
            row: Row of this process in the shared statistics.
            supervisor: Channel to the supervisor: carries a heartbeat with each tick; end of file
                stops this process. None without a supervisor.
            notifier: Notifies systemd; None if the supervisor does so.
            embedded: The embedded fibserver to keep running; None if the supervisor does so, or
                if there is none.
        """
        self._service = service
        self._settings = service.settings
        self._slot = row
        self._supervisor = supervisor
        self._notifier = notifier or Notifier({})
        self._embedded = embedded
        self._inherited = MetricValues.decode(service.stats.read(row)).counters
        self._stats_lock = threading.Lock()
        self._access_log = AccessLog()
        self._is_stopping = False
        self._iterations = -1  # loop iterations at the last tick
        self._ended = os.eventfd(0)
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the supervisor's end; then drain and return."""
        with ExitStack() as stack:
            stack.callback(os.close, self._ended)
            # The supervisor, if any, handles the hang-up of the terminal.
            ends_with_terminal = self._supervisor is None and has_terminal()
            pipe = SignalPipe(SIGNALS, ends_with_terminal=ends_with_terminal)
            signals = stack.enter_context(pipe)
            if self._supervisor is not None:
                # After Ctrl-C the supervisor sends SIGTERM.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
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
                self._run_main_thread(signals)
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
        cors = CorsPolicy(origins) if origins else None
        server = HttpServer(
            [
                *(
                    Site(composition.app, sock, cors, PARAMETERS)
                    for sock in self._service.listeners
                ),
                *(Site(composition.metrics_app, sock) for sock in metrics_listeners),
            ],
            on_response=self._on_response,
            limits=self._limits(),
            root_path=self._settings.root_path,
        )
        return composition, server

    def _limits(self) -> HttpLimits:
        settings = self._settings
        reserve = SPARE_DESCRIPTORS + SURPLUS_CONNECTIONS + self._server_connections
        return HttpLimits(
            settings.threads,
            affordable_connections(settings.max_clients, reserve, "max_clients"),
            affordable_bytes(
                "max_output_bytes", settings.max_output_bytes, memory_parts(settings)
            ),
            settings.timeout,
        )

    def _on_response(self, record: AccessRecord) -> None:
        self._counts.record(record)
        self._access_log.write(record)

    def _serve(self) -> None:
        """Run the event loop; notify the main thread when it ends, also by an exception."""
        try:
            self._http.run()
        except BaseException as error:
            self._failure = error
        finally:
            os.eventfd_write(self._ended, 1)

    # The main thread.

    def _run_main_thread(self, signals: SignalPipe) -> None:
        """Handle signals, do periodic work and watch the supervisor, until the event loop ends."""
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
                next_tick = now + self._notifier.tick_seconds(TICK_SECONDS)
            wait_seconds = next_tick - now
            if self._embedded is not None:
                wait_seconds = min(wait_seconds, self._embedded.restart_if_dead())
            for fd, _ in poller.poll(max(0, wait_seconds) * 1000):
                if fd == self._ended:
                    return
                if fd == signals.fileno():
                    for number in signals.read():
                        self._on_signal(number)
                else:
                    poller.unregister(fd)
                    log.error("stopping: the supervisor has ended")
                    self._stop()

    def _tick(self) -> None:
        metrics = self._gather()
        iterations, self._iterations = self._iterations, self._http.iterations
        if iterations >= 0:  # not at the start: the first response would wait 15 ms for it
            prepare()
        if self._iterations != iterations:  # no heartbeat if the event loop hangs
            if self._supervisor is not None:
                with suppress(OSError):  # full, since the supervisor is stopped, or closed
                    self._supervisor.send(b".", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            self._notifier.watchdog()
        self._notifier.status(status_line(metrics))

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            return  # each iteration checks the embedded fibserver
        if number is signal.SIGHUP:
            if not self._is_stopping:  # else systemd receives READY after STOPPING
                self._reload()
        else:
            if self._supervisor is None:
                log.info("received %s", number.name)
                if self._http.in_flight and not self._is_stopping:
                    log.info("%s", drain_notice(number, self._settings.drain_timeout))
            self._stop()

    def _stop(self) -> None:
        """Drain the server; called again, end at once."""
        seconds = 0 if self._is_stopping else self._settings.drain_timeout
        longest = seconds + stop_seconds(self._embedded)
        self._notifier.stopping("finishing requests in progress", longest)
        if self._supervisor is None:  # the event loop is about to close the listeners
            for listener in self._service.listeners:
                remove_socket_file(listener)
        if self._is_stopping:
            self._client.close()  # aborts the calls of the threads
        self._http.stop(seconds)
        self._is_stopping = True

    def _reload(self) -> None:
        self._notifier.reloading()
        is_logged = self._supervisor is None
        self._settings = reload_settings(self._settings, self._service.reload, is_logged)
        self._access_log.configure(
            is_on=self._settings.access_log, format=self._settings.log_format
        )
        self._notifier.ready("serving")

    # Metrics.

    def _gather(self) -> MetricValues:
        """Publish the metrics of this process, and return those of all processes."""
        with self._stats_lock:
            self._service.stats.write(self._slot, self._metrics().encode())
        return gather(self._service.stats)

    def _metrics(self) -> MetricValues:
        http, fetcher = self._http, self._http.fetcher
        counters: Samples = {
            ("fetches_cancelled",): fetcher.cancelled,
            ("pieces_dropped",): http.held.released,
            ("rejections", "connections"): http.admission.rejected,
        }
        gauges: Samples = {
            ("connections",): http.connections,
            ("in_flight",): http.in_flight,
            ("queue_depth",): fetcher.waiting,
            ("fetches_running",): fetcher.running,
            ("held_bytes",): http.held.size,
        }
        for reason, count in fetcher.rejections.items():
            counters["rejections", reason] = count
        for reason, count in http.admission.cut_off.items():
            counters["connections_cut_off", reason] = count
        metrics = process_values(self._counts, self._client)
        return metrics.plus(MetricValues(counters, gauges)).plus(MetricValues(self._inherited, {}))


def status_line(metrics: MetricValues) -> str:
    """Return a summary of the metrics in one line, for `systemctl status`."""
    answered = sum(value for key, value in metrics.counters.items() if key[0] == "requests")
    clients = metrics.gauges.get(("connections",), 0)
    return f"{clients:.0f} clients, {answered:.0f} requests answered"


def reload_settings(
    current: WebSettings, fresh: Callable[[], WebSettings], is_logged: bool
) -> WebSettings:
    """Apply the settings that can change while serving; keep all if any is invalid.

    Args:
        current: Current settings.
        fresh: Reads the settings again; raises SettingsError.
        is_logged: Whether to log the result, which one of several processes does.

    Returns:
        The new settings.
    """
    try:
        settings, changed, left = current.reloaded(fresh())
    except SettingsError as error:
        if is_logged:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)
        return current
    configure_logging(settings.log_level, settings.log_format)
    if is_logged:
        log.info("reloaded; changed: %s", ", ".join(changed) or "nothing")
        if left:
            log.warning("a restart is needed for: %s", ", ".join(left))
    return settings
