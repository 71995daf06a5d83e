"""A fibserver of one's own: on a private Unix socket, kept running, ended with this process.

fibweb does not import fibserver; it runs its command, as an operator would.
"""

import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from fibclient import FibClient, ServerUnreachable
from fibweb.restarts import RestartPlan

__all__ = ["EmbeddedServer", "EmbeddedServerError"]

log = logging.getLogger(__name__)

START_SECONDS = 30
STOP_SECONDS = 15

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
            name: value for name, value in environment.items() if name not in OF_THE_MANAGER
        }
        self._plan = RestartPlan()
        self._process: subprocess.Popen[bytes] | None = None

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
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._path.unlink(missing_ok=True)

    def tend(self) -> float:
        """Start it again if it has ended and it is time; nothing here waits.

        Returns:
            in how many seconds to come back at the latest, if it is not running.
        """
        now = time.monotonic()
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
        return float("inf") if self._process is not None else self._plan.due_at - now

    def _start(self) -> None:
        self._plan.started(time.monotonic())
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
