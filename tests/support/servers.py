"""fibserver processes for tests, each on its own port, which must stop cleanly."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from fibclient import FibClient

READY = re.compile(r"ready on ([^\s,]+)")
DEADLINE_SECONDS = 30
"""Far above anything seen: reaching it is a failure, not a slow machine."""


class RunningServer:
    """A server process.

    Attributes:
        process: The server's first process; of a fibserver, the acceptor.
        address: Address from its log: `HOST:PORT`, `unix:/path` or a URL.
    """

    def __init__(
        self,
        command: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        ready: re.Pattern[str] = READY,
    ) -> None:
        """Start the command, and wait until its log reports the address."""
        self.log = log
        self._ready = ready
        with log.open("wb") as out:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # a terminal's process would end with SIGHUP
            )
        self.process = psutil.Process(self._child.pid)
        self.address = self._wait_until_ready()

    def _wait_until_ready(self) -> str:
        # The log grows in a file, so that no full pipe can stop the server.
        pause = threading.Event()
        for _ in range(DEADLINE_SECONDS * 100):
            match = self._ready.search(self.log.read_text())
            if match:
                return match[1]
            if self._child.poll() is not None:
                break
            pause.wait(0.01)
        self._child.kill()
        self._child.wait()
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.address.rpartition(":")[2])

    def workers(self) -> list[psutil.Process]:
        """Return the live worker processes."""
        return self.process.children()

    def memory_bytes(self) -> int:
        """Return the memory of all processes of the server and its shared memory."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(map(_private_bytes, family)) + self.shared_bytes()

    def shared_bytes(self) -> int:
        """Return the size of the server's shared memory."""
        pid = self.process.pid
        for fd in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{fd}"
            if os.readlink(path).startswith("/dev/shm/"):
                return os.stat(path).st_blocks * 512
        raise AssertionError("the server has no segment in /dev/shm")

    def info(self) -> dict[str, str]:
        """Return the fields of INFO ALL."""
        with direct_client(self.address) as client:
            return client.info("ALL")

    def wait_until(self, holds: Callable[["RunningServer"], bool], what: str) -> None:
        """Wait until a condition on the server is true; fail if it never is."""
        pause = threading.Event()
        for _ in range(DEADLINE_SECONDS * 20):
            if holds(self):
                return
            pause.wait(0.05)
        raise AssertionError(f"never: {what}\n{self.log.read_text()}")

    def wait_for_log(self, text: str) -> None:
        """Wait until the log contains a text."""
        self.wait_until(lambda server: text in server.log.read_text(), f"{text!r} in the log")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code.

        Fail if a process that the server started outlives it.
        """
        family = self.process.children(recursive=True) if self._child.poll() is None else []
        if self._child.poll() is None:
            self._child.send_signal(number)
        try:
            code = self._child.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise AssertionError(f"signal {number} did not end {self.process}") from None
        _wait_until_ended(family)
        return code


def direct_client(address: str, max_connections: int = 16) -> FibClient:
    """Return a client without cache and retries."""
    return FibClient(
        address,
        max_connections=max_connections,
        timeout_seconds=DEADLINE_SECONDS,
        idle_timeout_seconds=DEADLINE_SECONDS,
        max_retries=0,
        cache_bytes=0,
    )


def _private_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared)


def _wait_until_ended(processes: list[psutil.Process]) -> None:
    """Wait for processes that are not our children; a zombie has ended."""
    pause = threading.Event()
    for _ in range(DEADLINE_SECONDS * 100):
        processes = [process for process in processes if is_running(process)]
        if not processes:
            return
        pause.wait(0.01)
    raise AssertionError(f"processes left behind: {processes}")


def is_running(process: psutil.Process) -> bool:
    """Return whether a process is running; a zombie is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_server(
    log: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> RunningServer:
    """Start `fibserver`, by default on a free port of 127.0.0.1.

    Args:
        log: File for its log.
        arguments: Command-line arguments.
        environment: Environment variables to set, such as FIBSERVER_MEMORY_LIMIT.
        under: Command that executes the given one, such as `env`.
    """
    if "--listen" not in arguments:
        arguments = ("--listen", "127.0.0.1:0", *arguments)
    command = [*under, sys.executable, "-m", "fibserver", *arguments]
    return RunningServer(command, log, environment)
