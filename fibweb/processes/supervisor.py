"""The supervisor of several serving processes: moves what there is toward what should be.

                    ┌─ fork ─> serving process 0 ─┐
    supervisor ─────┼─ fork ─> serving process 1 ─┼── accept ── one listening socket
         ▲          └─ fork ─> serving process 2 ─┘
         └── a byte a second, each over a channel of its own ──┘

It serves nothing, has no threads, and so may fork at any time. A process that dies is replaced at
once, one that keeps dying after growing pauses, and one that has not been heard for long is
killed. The channel works the other way as well: its end tells a process that the supervisor is
gone. So whoever is forked closes the supervisor's ends of all channels, or they would never end.

Signals are held back around a fork: the child has the supervisor's wake-up pipe until it closes
it, and what the child is sent must not reach the supervisor through it.
"""

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NoReturn

from fibcommon.service.errors import is_shortage
from fibcommon.service.listeners import close_listener
from fibcommon.service.orphans import reap_orphans
from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from fibcommon.service.systemd import Notifier
from fibweb.processes.embedded import STOP_SECONDS, EmbeddedServer
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
"""A process says that it is alive each second; a machine that is very busy may delay that."""

GRACE_SECONDS = 5.0
"""How much longer than agreed a process may take to end."""


class _Phase(Enum):
    """What the supervisor is doing."""

    STARTING = "waiting until all processes serve"
    SERVING = "replacing those that die"
    DRAINING = "waiting until all have ended"


@dataclass
class _Child:
    """A live process.

    Attributes:
        pid: of the process.
        channel: where it is heard.
        heard_at: when it was last heard, or was started; monotonic.
        is_ready: whether it was ever heard.
    """

    pid: int
    channel: socket.socket
    heard_at: float
    is_ready: bool = False


@dataclass
class _Row:
    """A process that should be.

    Attributes:
        number: its row on the notice board.
        plan: when it may be started.
        child: the process, if there is one.
    """

    number: int
    plan: RestartPlan = field(default_factory=RestartPlan)
    child: _Child | None = None


class Supervisor:
    """The parent of the serving processes."""

    def __init__(
        self, service: ServiceContext, notifier: Notifier, embedded: EmbeddedServer | None
    ) -> None:
        """Describe the supervisor; nothing is started yet.

        Args:
            service: what is to be served; its settings say by how many processes.
            notifier: tells systemd.
            embedded: the fibserver to look after, if there is one.
        """
        self._service = service
        self._settings = service.settings
        self._notifier = notifier
        self._embedded = embedded
        self._rows = [_Row(number) for number in range(service.settings.processes)]
        self._phase = _Phase.STARTING
        self._deadline = float("inf")  # for the processes to end, while draining
        self._next_tick = 0.0

    def run(self) -> None:
        """Keep the processes running until SIGTERM or SIGINT, have them end, and return."""
        with SignalPipe(SIGNALS, ends_with_terminal=has_terminal()) as signals:
            try:
                while self._phase is not _Phase.DRAINING or self._children():
                    self._reap()
                    self._top_up(signals)
                    self._tick()
                    self._wait(signals)
            finally:
                self._kill()
                signals.ignore(*STOP_SIGNALS)

    def _children(self) -> list[_Child]:
        return [row.child for row in self._rows if row.child is not None]

    # What is done in each turn.

    def _reap(self) -> None:
        """Take note of the processes that have ended."""
        for row in self._rows:
            child = row.child
            if child is None or os.waitpid(child.pid, os.WNOHANG) == (0, 0):
                continue
            child.channel.close()
            row.child = None
            # What it counted remains; what it had is gone.
            counters = MetricValues.decode(self._service.board.read(row.number)).counters
            self._service.board.write(row.number, MetricValues(counters, {}).encode())
            if self._phase is not _Phase.DRAINING:
                now = time.monotonic()
                row.plan.ended(now)
                log.error(
                    "serving process %s (pid %s) has died; it is replaced in %.1f s",
                    *(row.number, child.pid, max(0.0, row.plan.due_at - now)),
                )

    def _top_up(self, signals: SignalPipe) -> None:
        """Start the processes that should be and are not."""
        if self._phase is _Phase.DRAINING:
            return
        for row in self._rows:
            if row.child is None and time.monotonic() >= row.plan.due_at:
                self._spawn(row, signals)

    def _tick(self) -> None:
        """Look after what no event tells of."""
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + min(
            TICK_SECONDS, (self._notifier.watchdog_seconds or TICK_SECONDS) / 2
        )
        for child in self._children():
            if now - child.heard_at > HANG_SECONDS or now > self._deadline:
                log.error("pid %s is killed: it does not answer, or does not end", child.pid)
                os.kill(child.pid, signal.SIGKILL)
        reap_orphans(
            {child.pid for child in self._children()}
            | ({self._embedded.pid} if self._embedded is not None else set())
        )
        self._notifier.watchdog()
        serving = sum(child.is_ready for child in self._children())
        figures = status_line(gather(self._service.board))
        self._notifier.status(f"{serving} of {len(self._rows)} processes, {figures}")

    def _wait(self, signals: SignalPipe) -> None:
        """Wait for what happens, or until something is due."""
        children = {child.channel.fileno(): child for child in self._children()}
        poller = select.poll()
        for fd in (signals.fileno(), *children):
            poller.register(fd, select.POLLIN)
        now = time.monotonic()
        due = [self._next_tick - now]
        if self._phase is not _Phase.DRAINING:
            due += [row.plan.due_at - now for row in self._rows if row.child is None]
        if self._embedded is not None:
            due.append(self._embedded.restart_if_dead())
        for fd, _ in poller.poll(max(0.0, min(due)) * 1000):
            if fd == signals.fileno():
                for number in signals.take():
                    self._on_signal(number)
            else:
                self._read_heartbeat(children[fd])

    def _read_heartbeat(self, child: _Child) -> None:
        if not child.channel.recv(4096):
            return  # it is about to end, as the next turn will find
        child.heard_at = time.monotonic()
        child.is_ready = True
        are_ready = len(self._children()) == len(self._rows) and all(
            each.is_ready for each in self._children()
        )
        if self._phase is _Phase.STARTING and are_ready:
            self._phase = _Phase.SERVING
            self._service.started()
            self._notifier.ready("serving")

    # Signals.

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            return  # each turn begins with a look
        log.info("received %s", number.name)
        if number is not signal.SIGHUP:
            if self._phase is not _Phase.DRAINING:
                log.info("%s", drain_notice(number, self._settings.drain_timeout))
            self._stop()
        elif self._phase is not _Phase.DRAINING:
            self._notifier.reloading()
            self._settings = reload_settings(self._settings, self._service.reload, True)
            self._tell_all(signal.SIGHUP)
            self._notifier.ready("serving")

    def _stop(self) -> None:
        """Have all processes finish what they were asked; called again, have them leave it."""
        is_first = self._phase is not _Phase.DRAINING
        self._phase = _Phase.DRAINING
        seconds = GRACE_SECONDS + (self._settings.drain_timeout if is_first else 0.0)
        rest = STOP_SECONDS if self._embedded is not None else 0
        self._notifier.stopping("answering what was asked", seconds + rest)
        for listener in self._service.listeners:
            close_listener(listener)
        self._tell_all(signal.SIGTERM)
        self._deadline = time.monotonic() + seconds

    def _tell_all(self, number: signal.Signals) -> None:
        for child in self._children():
            os.kill(child.pid, number)

    def _kill(self) -> None:
        """End what is left, after an error of our own."""
        self._tell_all(signal.SIGKILL)
        for child in self._children():
            os.waitpid(child.pid, 0)

    # Starting.

    def _spawn(self, row: _Row, signals: SignalPipe) -> None:
        """Start a process; if the machine is short of something, plan another try."""
        now = time.monotonic()
        row.plan.started(now)
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    pid = self._fork(row, signals, ours, theirs)
                except BaseException:
                    ours.close()
                    raise
        except (OSError, MemoryError) as error:
            row.plan.ended(now)
            log.error(
                "serving process %s cannot be started: %r; the next try is in %.1f s",
                *(row.number, error, max(0.0, row.plan.due_at - now)),
            )
        else:
            row.child = _Child(pid, ours, now)

    def _fork(
        self, row: _Row, signals: SignalPipe, ours: socket.socket, theirs: socket.socket
    ) -> int:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._become_serving_process(row.number, signals, blocked, ours, theirs)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _become_serving_process(
        self,
        row: int,
        signals: SignalPipe,
        blocked: Collection[int],
        ours: socket.socket,
        theirs: socket.socket,
    ) -> NoReturn:
        code = 1
        try:
            signals.__exit__()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            ours.close()
            for child in self._children():
                child.channel.close()
            self._notifier.close()
            # Not those of the start: one that replaces another must serve as the others do.
            service = replace(self._service, settings=self._settings)
            WebWorker(service, row, supervisor=theirs).run()
            code = 0
        except BaseException as error:
            is_bug = not is_shortage(error)
            log.error("serving process %s failed: %r", row, error, exc_info=is_bug)
        finally:
            # Nothing of what the supervisor has to clean up is to be cleaned up here.
            os._exit(code)
