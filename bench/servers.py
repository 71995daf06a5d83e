"""fibserver and redis-server for benchmarks: started on free ports, and ended with the context."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import redis

__all__ = ["ROOT", "client", "fibserver", "redis_server", "running", "wait_for"]

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 20
"""Far above any measured time: reaching one is a failure, not a slow machine."""

READY = re.compile(r"ready on 127\.0\.0\.1:(\d+) with (\d+) workers")


@contextmanager
def running(
    command: list[str], log: Path, directory: Path = ROOT
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a directory, and end it with the context."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(STOP_SECONDS)


def wait_for(child: "subprocess.Popen[bytes]", log: Path, is_ready: Callable[[], Any]) -> Any:
    """Poll `is_ready` until its result is true, and return that.

    Raises:
        click.ClickException: The server has ended, or took longer than `START_SECONDS`.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not _has_ended(child):
        if result := is_ready():
            return result
        time.sleep(0.01)
    raise click.ClickException(f"{child.args!r} did not start:\n{log.read_text()}")


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Whether a child has ended. Does not reap it.

    `Popen.poll` is not safe here: if a signal handler raises an exception in it, its lock may stay
    locked, and a later `wait` never returns.
    """
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@contextmanager
def fibserver(*args: str, checkout: Path = ROOT) -> Iterator[tuple[int, int]]:
    """Run an empty fibserver; yield its port and the number of its workers.

    Args:
        args: Command line arguments besides the address.
        checkout: Directory with its source.
    """
    command = [sys.executable, "-m", "fibserver", "--listen", "127.0.0.1:0", *args]
    with tempfile.TemporaryDirectory(prefix="bench-fibserver-") as directory:
        log = Path(directory, "log")
        with running(command, log, checkout) as child:
            match = wait_for(child, log, lambda: READY.search(log.read_text()))
            yield int(match[1]), int(match[2])


@contextmanager
def redis_server() -> Iterator[int]:
    """Run an empty redis-server without persistence; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as directory:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory]
        command += ["--save", "", "--appendonly", "no"]
        log = Path(directory, "log")
        with running(command, log) as child:
            wait_for(child, log, lambda: _redis_pid(port) == child.pid)
            yield port


def _redis_pid(port: int) -> Any:
    """Return the process ID of the server at a port, None without a reply.

    Another program may have taken the free port before redis-server bound it.
    """
    try:
        with client(port) as connection:
            return connection.info("server")["process_id"]
    except redis.RedisError:
        return None


def client(port: int) -> redis.Redis:
    """Return a redis-py client of fibserver or redis-server."""
    return redis.Redis("127.0.0.1", port, socket_timeout=START_SECONDS, protocol=2)
