"""Embedded fibserver: a child process on a private Unix socket, restarted when it fails.

fibweb does not import fibserver; it runs its command, as an operator would. It probes the server
regularly: a running server may be unreachable, since programs that clean up the temporary
directory remove its socket.
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
from fibcommon.service.resource_limits import memory_limit_bytes
from fibweb.processes.restarts import RestartPlan

__all__ = ["EmbeddedServer", "EmbeddedServerError", "stop_seconds"]

log = logging.getLogger(__name__)

MIB = 1024**2

START_SECONDS = 30
STOP_SECONDS = 15
"""Time limit for a stop; after it the server is killed."""

CHECK_SECONDS = 1.0
REPLY_SECONDS = 30.0
"""A server without a reply for longer is killed."""

IGNORED_VARIABLES = ("FIBSERVER_LISTEN", "FIBSERVER_PASSWORD_FILE")
"""Settings of how clients reach a fibserver, which fibweb chooses for its embedded one."""

MANAGER_VARIABLES = (
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
)
"""Variables in which the service manager addresses fibweb alone."""

# prctl(PR_SET_PDEATHSIG): the kernel sends the server SIGTERM when fibweb dies, even by kill -9.
# A launcher program makes the call, since preexec_fn is not safe once there are threads.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class EmbeddedServerError(Exception):
    """The embedded fibserver did not start."""


class EmbeddedServer:
    """Context manager that runs a fibserver; for one thread, which must outlive the server.

    Attributes:
        address: Address where the server listens.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Prepare a server; the context starts it.

        Args:
            environment: Environment of this process; the server inherits it without the
                variables for fibweb alone.
        """
        self._environment = {
            name: value
            for name, value in environment.items()
            if name not in (*MANAGER_VARIABLES, *IGNORED_VARIABLES)
        }
        group = memory_limit_bytes()
        if group is not None:  # fibweb and fibserver share it
            share = max(MIB, min(512 * MIB, group // 4))
            self._environment.setdefault("FIBSERVER_MEMORY_LIMIT", str(share))
        self._plan = RestartPlan()
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: socket.socket | None = None
        self._check_at = self._answered_at = 0.0
        self._has_answered = False
        for name in sorted(environment):
            if name in IGNORED_VARIABLES:
                log.warning("%s is not used by the embedded fibserver", name)
            elif name.startswith("FIBSERVER_"):
                log.info("the embedded fibserver uses %s", name)

    def __enter__(self) -> Self:
        """Start the server and wait until it replies.

        Raises:
            EmbeddedServerError: The server has ended, or has not replied within the limit.
        """
        # No directory of its own: if fibweb is killed, fibserver removes this file itself.
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
        """Process id of the server; None while it does not run."""
        return self._process.pid if self._process is not None else None

    def restart_if_dead(self) -> float:
        """Probe the server if a probe is due; restart it if it has ended. Never block.

        Returns:
            Seconds until the next call is due; may be negative.
        """
        now = time.monotonic()
        if self._process is not None and now >= self._check_at:
            self._check(now)
        if self._process is not None and self._process.poll() is not None:
            self._plan.ended(now)
            log.error(
                "the embedded fibserver exited with code %s; restarting it in %.1f s",
                self._process.returncode,
                max(0.0, self._plan.due_at - now),
            )
            self._process = None
        if self._process is None and now >= self._plan.due_at:
            try:
                self._start()
            except OSError as error:
                self._plan.ended(now)
                log.error("cannot start the embedded fibserver: %s", error)
        return (self._check_at if self._process is not None else self._plan.due_at) - now

    def _check(self, now: float) -> None:
        """Kill the server if its socket is gone or it has not replied for `REPLY_SECONDS`."""
        assert self._process is not None
        self._check_at = now + CHECK_SECONDS
        is_gone = False
        if self._probe is None:
            try:
                self._probe = self._send_ping()
            except (FileNotFoundError, ConnectionRefusedError):
                is_gone = self._has_answered  # else it has not opened its socket yet
            except OSError as error:  # the backlog is full, or the server closes connections
                if is_shortage(error) and not isinstance(error, BlockingIOError):
                    self._answered_at = now  # this process lacks a resource, not the server
        elif (reply := _receive(self._probe)) is not None:
            self._end_probe()
            if reply:
                self._answered_at, self._has_answered = now, True
        if is_gone or now - self._answered_at > REPLY_SECONDS:
            log.error("killing the embedded fibserver: it does not answer at %s", self._path)
            self._process.kill()

    def _send_ping(self) -> socket.socket:
        """Open a connection, send PING and return the connection."""
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
            [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            # Ctrl-C must not reach the server: fibweb stops it.
            start_new_session=True,
            umask=0o077,  # no other user can connect
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
                    raise EmbeddedServerError(
                        "the embedded fibserver did not start: see its messages before this one"
                    ) from error
                time.sleep(0.02)


def stop_seconds(embedded: EmbeddedServer | None) -> float:
    """Return how long the stop of a fibserver may take: nothing if there is none."""
    return STOP_SECONDS if embedded is not None else 0


def _receive(probe: socket.socket) -> bytes | None:
    """Return the bytes received: None if there are none yet, b"" if the connection is closed."""
    try:
        return probe.recv(512)
    except BlockingIOError:
        return None
    except OSError:
        return b""
