"""Supervisor that starts, monitors and restarts several serving processes.

                    ┌─ fork ─> serving process 0 ─┐
    supervisor ─────┼─ fork ─> serving process 1 ─┼── accept ── one listening socket
         ▲          └─ fork ─> serving process 2 ─┘
         └── heartbeat: a byte a second, over one channel each ─┘

The supervisor has no threads, so it may fork at any time. A process that dies is replaced at once;
if it keeps dying, with exponential backoff. A process without a heartbeat for `HANG_SECONDS` is
killed. A channel also works in the other direction: end of file means that the supervisor has
ended. So every child closes its copies of the supervisor's ends, or that would never happen.

Signals are blocked around a fork: until the child closes its copy of the supervisor's wake-up
pipe, a signal to the child would be reported to the supervisor.
"""

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import NoReturn

from fibcommon.service.errors import is_shortage
from fibcommon.service.listeners import close_listener
from fibcommon.service.orphans import reap_orphans
from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from fibcommon.service.systemd import Notifier
from fibweb.processes.embedded import EmbeddedServer, stop_seconds
from fibweb.processes.restarts import RestartPlan
from fibweb.processes.web_worker import (
    SIGNALS,
    STOP_SIGNALS,
    TICK_SECONDS,
    ServiceContext,
    WebWorker,
    reload_settings,
    status_line,
)
from fibweb.stats.metric_values import MetricValues
from fibweb.stats.process_metrics import gather

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

HANG_SECONDS = 30.0
"""Longest time without a heartbeat, which comes every second unless the machine is busy."""

GRACE_SECONDS = 5.0
"""Time that a process may take to end after its drain timeout."""


class _Phase(Enum):
    """Phase of the supervisor."""

    STARTING = "waiting until all processes serve"
    SERVING = "replacing those that die"
    DRAINING = "waiting until all have ended"


@dataclass
class _Child:
    """Running process.

    Attributes:
        pid: Process id.
        channel: Receives its heartbeats.
        heartbeat_at: Monotonic time of its last heartbeat, or of its start.
        is_ready: Whether it has sent a heartbeat.
    """

    pid: int
    channel: socket.socket
    heartbeat_at: float
    is_ready: bool = False


@dataclass
class _ProcessSlot:
    """Slot for one process.

    Attributes:
        number: Row of the process in the shared statistics.
        plan: Decides when the process may be started.
        child: The process, or None while it does not run.
    """

    number: int
    plan: RestartPlan = field(default_factory=RestartPlan)
    child: _Child | None = None


class Supervisor:
    """Starts, monitors and restarts the serving processes."""

    def __init__(
        self, service: ServiceContext, notifier: Notifier, embedded: EmbeddedServer | None
    ) -> None:
        """Create a supervisor; `run` starts the processes.

        Args:
            service: Context of the processes; its settings contain their number.
            notifier: Notifies systemd.
            embedded: The embedded fibserver to keep running, or None.
        """
        self._service = service
        self._settings = service.settings
        self._notifier = notifier
        self._embedded = embedded
        self._slots = [_ProcessSlot(number) for number in range(service.settings.processes)]
        self._phase = _Phase.STARTING
        self._deadline = float("inf")  # for the processes to end, while draining
        self._next_tick = 0.0

    def run(self) -> None:
        """Keep the processes running until SIGTERM or SIGINT; then stop them and return."""
        with SignalPipe(SIGNALS, ends_with_terminal=has_terminal()) as signals:
            try:
                while self._phase is not _Phase.DRAINING or self._children():
                    self._reap()
                    self._start_missing(signals)
                    self._tick()
                    self._wait(signals)
            finally:
                self._kill()
                signals.ignore(*STOP_SIGNALS)

    def _children(self) -> list[_Child]:
        return [slot.child for slot in self._slots if slot.child is not None]

    # Steps of the main loop.

    def _reap(self) -> None:
        """Reap the processes that have ended, and plan their restart."""
        for slot in self._slots:
            child = slot.child
            if child is None or os.waitpid(child.pid, os.WNOHANG) == (0, 0):
                continue
            child.channel.close()
            slot.child = None
            # The counters continue in its replacement; the gauges are void.
            counters = MetricValues.decode(self._service.stats.read(slot.number)).counters
            self._service.stats.write(slot.number, MetricValues(counters, {}).encode())
            if self._phase is not _Phase.DRAINING:
                now = time.monotonic()
                slot.plan.ended(now)
                log.error(
                    "serving process %s (pid %s) died; restarting it in %.1f s",
                    *(slot.number, child.pid, max(0.0, slot.plan.due_at - now)),
                )

    def _start_missing(self, signals: SignalPipe) -> None:
        """Start the missing processes whose restart is due."""
        if self._phase is _Phase.DRAINING:
            return
        for slot in self._slots:
            if slot.child is None and time.monotonic() >= slot.plan.due_at:
                self._spawn(slot, signals)

    def _tick(self) -> None:
        """Run periodic maintenance."""
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + self._notifier.tick_seconds(TICK_SECONDS)
        for child in self._children():
            if now - child.heartbeat_at > HANG_SECONDS or now > self._deadline:
                log.error("killing pid %s: no heartbeat, or not ended in time", child.pid)
                os.kill(child.pid, signal.SIGKILL)
        reap_orphans(
            {child.pid for child in self._children()}
            | ({self._embedded.pid} if self._embedded is not None else set())
        )
        self._notifier.watchdog()
        serving = sum(child.is_ready for child in self._children())
        summary = status_line(gather(self._service.stats))
        self._notifier.status(f"{serving} of {len(self._slots)} processes, {summary}")

    def _wait(self, signals: SignalPipe) -> None:
        """Wait for signals and heartbeats, or until the next step is due."""
        children = {child.channel.fileno(): child for child in self._children()}
        poller = select.poll()
        for fd in (signals.fileno(), *children):
            poller.register(fd, select.POLLIN)
        now = time.monotonic()
        due = [self._next_tick - now]
        if self._phase is not _Phase.DRAINING:
            due += [slot.plan.due_at - now for slot in self._slots if slot.child is None]
        if self._embedded is not None:
            due.append(self._embedded.restart_if_dead())
        for fd, _ in poller.poll(max(0.0, min(due)) * 1000):
            if fd == signals.fileno():
                for number in signals.read():
                    self._on_signal(number)
            else:
                self._read_heartbeat(children[fd])

    def _read_heartbeat(self, child: _Child) -> None:
        if not child.channel.recv(4096):
            return  # the process is ending; the next iteration reaps it
        child.heartbeat_at = time.monotonic()
        child.is_ready = True
        are_ready = all(slot.child is not None and slot.child.is_ready for slot in self._slots)
        if self._phase is _Phase.STARTING and are_ready:
            self._phase = _Phase.SERVING
            self._service.started()
            self._notifier.ready("serving")

    # Signals.

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            return  # each iteration calls _reap
        log.info("received %s", number.name)
        if number is not signal.SIGHUP:
            if self._phase is not _Phase.DRAINING:
                log.info("%s", drain_notice(number, self._settings.drain_timeout))
            self._stop()
        elif self._phase is not _Phase.DRAINING:
            self._notifier.reloading()
            self._settings = reload_settings(self._settings, self._service.reload, True)
            self._signal_all(signal.SIGHUP)
            self._notifier.ready("serving")

    def _stop(self) -> None:
        """Drain all processes; called again, make them end at once."""
        is_first = self._phase is not _Phase.DRAINING
        self._phase = _Phase.DRAINING
        seconds = GRACE_SECONDS + (self._settings.drain_timeout if is_first else 0.0)
        longest = seconds + stop_seconds(self._embedded)
        self._notifier.stopping("finishing requests in progress", longest)
        for listener in self._service.listeners:
            close_listener(listener)
        self._signal_all(signal.SIGTERM)
        self._deadline = time.monotonic() + seconds

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children():
            os.kill(child.pid, number)

    def _kill(self) -> None:
        """Kill the remaining processes, after an error of the supervisor."""
        self._signal_all(signal.SIGKILL)
        for child in self._children():
            os.waitpid(child.pid, 0)

    # Starting.

    def _spawn(self, slot: _ProcessSlot, signals: SignalPipe) -> None:
        """Start a process; on a shortage of resources, plan a retry."""
        now = time.monotonic()
        slot.plan.started(now)
        try:
            parent_end, child_end = socket.socketpair()
            with child_end:
                try:
                    pid = self._fork(slot, signals, parent_end, child_end)
                except BaseException:
                    parent_end.close()
                    raise
        except (OSError, MemoryError) as error:
            slot.plan.ended(now)
            log.error(
                "cannot start serving process %s: %r; retrying in %.1f s",
                *(slot.number, error, max(0.0, slot.plan.due_at - now)),
            )
        else:
            slot.child = _Child(pid, parent_end, now)

    def _fork(
        self,
        slot: _ProcessSlot,
        signals: SignalPipe,
        parent_end: socket.socket,
        child_end: socket.socket,
    ) -> int:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._become_serving_process(slot.number, signals, blocked, parent_end, child_end)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _become_serving_process(
        self,
        slot: int,
        signals: SignalPipe,
        blocked: Collection[int],
        parent_end: socket.socket,
        child_end: socket.socket,
    ) -> NoReturn:
        code = 1
        try:
            signals.__exit__()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            parent_end.close()
            for child in self._children():
                child.channel.close()
            self._notifier.close()
            # The current settings: a replacement must serve as the other processes do.
            service = self._service._replace(settings=self._settings)
            WebWorker(service, slot, supervisor=child_end).run()
            code = 0
        except BaseException as error:
            is_bug = not is_shortage(error)
            log.error("serving process %s failed: %r", slot, error, exc_info=is_bug)
        finally:
            # Skip exit handlers: their clean-up is for the supervisor.
            os._exit(code)
