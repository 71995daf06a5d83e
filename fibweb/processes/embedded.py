"""Embedded fibserver: on a private Unix socket, kept running, ended with this process.

fibweb does not import fibserver; it runs its command, as an operator would. It asks the server
regularly: a process that lives may still be unreachable, since programs that clean up the
temporary folder remove its socket.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from fibclient import FibClient, ServerUnreachable
from fibcommon.service.errors import is_shortage
from fibcommon.service.machine import memory_limit_bytes
from fibweb.processes.restarts import RestartPlan

__all__ = ["STOP_SECONDS", "EmbeddedServer", "EmbeddedServerError"]

log = logging.getLogger(__name__)

MIB = 1024**2

START_SECONDS = 30
STOP_SECONDS = 15
"""After this long without an end it is killed."""

CHECK_SECONDS = 1.0
ANSWER_SECONDS = 30.0
"""A server that has not answered for longer hangs."""

UNUSED = ("FIBSERVER_LISTEN", "FIBSERVER_PASSWORD_FILE")
"""Settings that decide how clients reach a fibserver: here fibweb decides that."""

OF_THE_MANAGER = (
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
)
"""What the service manager says to fibweb alone."""

# The kernel is to send SIGTERM when the parent dies, even by kill -9: prctl(PR_SET_PDEATHSIG). It
# is asked for by a program in between: preexec_fn is not safe once there are threads.
_BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class EmbeddedServerError(Exception):
    """The embedded fibserver did not start."""


class EmbeddedServer:
    """A fibserver, from `with` to its end; for one thread, which must outlive it.

    Attributes:
        address: where it listens.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Describe a server; it starts with the context.

        Args:
            environment: of this process; what the service manager says in it is not passed on.
        """
        self._environment = {
            name: value
            for name, value in environment.items()
            if name not in (*OF_THE_MANAGER, *UNUSED)
        }
        group = memory_limit_bytes()
        if group is not None:  # the two services share it
            share = max(MIB, min(512 * MIB, group // 4))
            self._environment.setdefault("FIBSERVER_MEMORY_LIMIT", str(share))
        self._plan = RestartPlan()
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: socket.socket | None = None
        self._check_at = self._answered_at = 0.0
        self._has_answered = False
        for name in sorted(environment):
            if name in UNUSED:
                log.warning("%s is not used by the embedded fibserver", name)
            elif name.startswith("FIBSERVER_"):
                log.info("the embedded fibserver uses %s", name)

    def __enter__(self) -> Self:
        """Start it, and wait until it answers.

        Raises:
            EmbeddedServerError: it does not start.
        """
        # No folder around it: the fibserver removes this file even where fibweb no longer can.
        self._path = Path(tempfile.gettempdir(), f"fibweb-{secrets.token_hex(8)}.sock")
        self.address = f"unix:{self._path}"
        try:
            self._start()
            self._wait_until_ready()
            self._has_answered = True
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_probe()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._path.unlink(missing_ok=True)

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def restart_if_dead(self) -> float:
        """Start it again if it has ended or is out of reach, and it is time; nothing here waits.

        Returns:
            In how many seconds to come back at the latest.
        """
        now = time.monotonic()
        if self._process is not None and now >= self._check_at:
            self._check(now)
        if self._process is not None and self._process.poll() is not None:
            self._plan.ended(now)
            log.error(
                "the embedded fibserver has ended with code %s; it is started again in %.1f s",
                self._process.returncode,
                max(0.0, self._plan.due_at - now),
            )
            self._process = None
        if self._process is None and now >= self._plan.due_at:
            try:
                self._start()
            except OSError as error:
                self._plan.ended(now)
                log.error("the embedded fibserver cannot be started: %s", error)
        return (self._check_at if self._process is not None else self._plan.due_at) - now

    def _check(self, now: float) -> None:
        """Kill the server if its socket is gone, or if it has not answered for long."""
        assert self._process is not None
        self._check_at = now + CHECK_SECONDS
        is_gone = False
        if self._probe is None:
            try:
                self._probe = self._ask()
            except (FileNotFoundError, ConnectionRefusedError):
                is_gone = self._has_answered  # or else it has not opened its socket yet
            except OSError as error:  # its backlog is full, or it closes connections at once
                if is_shortage(error) and not isinstance(error, BlockingIOError):
                    self._answered_at = now  # this process is short of something, not the server
        elif (reply := _received(self._probe)) is not None:
            self._end_probe()
            if reply:
                self._answered_at, self._has_answered = now, True
        if is_gone or now - self._answered_at > ANSWER_SECONDS:
            log.error("the embedded fibserver does not answer at %s: it is killed", self._path)
            self._process.kill()

    def _ask(self) -> socket.socket:
        """Send PING over a new connection, and return that."""
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.setblocking(False)
            probe.connect(str(self._path))
            probe.send(b"PING\r\n")
        except BaseException:
            probe.close()
            raise
        return probe

    def _end_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _start(self) -> None:
        now = time.monotonic()
        self._plan.started(now)
        self._end_probe()
        self._check_at, self._answered_at, self._has_answered = now + CHECK_SECONDS, now, False
        command = ["-m", "fibserver", "--listen", self.address]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for fibweb, which then ends its server.
            start_new_session=True,
            umask=0o077,  # so that no other user can connect
            env=self._environment,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with FibClient(self.address, max_retries=0) as client:
                    return client.ping()
            except ServerUnreachable as error:
                has_ended = self._process is None or self._process.poll() is not None
                if has_ended or time.monotonic() > deadline:
                    raise EmbeddedServerError("the embedded fibserver did not start") from error
                time.sleep(0.02)


def _received(probe: socket.socket) -> bytes | None:
    """Return what has arrived: None for nothing yet, b"" if the connection has ended."""
    try:
        return probe.recv(512)
    except BlockingIOError:
        return None
    except OSError:
        return b""
