"""Load on an HTTP server: many requests by wrk or ab, and readers that are slow."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from statistics import median
from typing import Any, NamedTuple

import click
import psutil
from side_by_side import Run

__all__ = ["Served", "ab", "slowly_read", "wrk"]

QUICK_SECONDS = 30
"""A client that waits for longer has been turned away, and how much longer does not matter."""

RUN_SECONDS = 300
"""Far above anything seen: reaching it is a failure, not a slow machine."""

WRK_THREADS = 1
"""Of two cores the server has one to itself."""

DIFFERENT = """
local threads = 0
function setup(thread) threads = threads + 1; thread:set("id", threads) end
local count = 0
function request()
  count = count + 1
  local n = %(n)d - math.random(0, %(spread)d)
  return wrk.format("GET", "/fib/" .. n .. "?request=" .. id .. "-" .. count)
end
"""
"""Every request is another: by its n, which is up to a tenth less, and by a parameter."""

UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

SLOW_READERS = 16
SLOW_READER = """
import socket, sys, time
port, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
socks = []
for _ in range(count):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
    socks.append(sock)
print("reading", flush=True)
while True:
    for sock in socks:
        try:
            sock.recv(8192, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
    time.sleep(0.05)
"""
"""A process of its own with many connections, each of which takes about 160 KB a second."""


class Served(NamedTuple):
    """A server under test.

    Attributes:
        port: of 127.0.0.1.
        pid: of its first process.
    """

    port: int
    pid: int

    def memory_bytes(self) -> int:
        """Return what its processes have for themselves."""
        first = psutil.Process(self.pid)
        family = [first, *first.children(recursive=True)]
        return sum(each.memory_full_info().uss for each in family)


def wrk(port: int, n: int, connections: int, seconds: float, *, is_different: bool) -> Run:
    """Return what wrk measures while it asks for the first n numbers.

    Args:
        port: of the server.
        n: how many numbers.
        connections: how many, kept alive.
        seconds: how long.
        is_different: whether every request is to be another.
    """
    command = ["wrk", "--latency", "-t", str(WRK_THREADS), "-c", str(connections)]
    command += ["-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if is_different:
            script.write(DIFFERENT % {"n": n, "spread": n // 10})
            script.flush()
            command += ["-s", script.name]
        text = _output([*command, f"http://127.0.0.1:{port}/fib/{n}"])
    if re.search(r"Non-2xx|Socket errors", text):
        raise click.ClickException(f"wrk met errors at port {port}:\n{text}")
    rate, p50 = (
        re.search(r"Requests/sec:\s+([\d.]+)", text),
        re.search(r"50%\s+([\d.]+)(\w+)", text),
    )
    if rate is None or p50 is None:
        raise click.ClickException(f"wrk says what is not understood:\n{text}")
    return Run(float(rate[1]), float(p50[1]) * UNITS_MS[p50[2]])


def ab(port: int, n: int, requests: int, *, keeps_alive: bool) -> dict[str, float]:
    """Return what ab measures with 100 connections: requests/s, failures, p99 and worst in ms."""
    command = ["ab", "-q", "-c", "100", "-n", str(requests), *(["-k"] if keeps_alive else [])]
    text = _output([*command, f"http://127.0.0.1:{port}/fib/{n}"])
    patterns = {
        "rate": r"Requests per second:\s+([\d.]+)",
        "failed": r"Failed requests:\s+(\d+)",
        "p99_ms": r"99%\s+(\d+)",
        "worst_ms": r"100%\s+(\d+)",
    }
    found = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    return {name: float(match[1]) if match else float("nan") for name, match in found.items()}


def _output(command: list[str]) -> str:
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    if finished.returncode:
        raise click.ClickException(f"{command}: {finished.stdout}{finished.stderr}")
    return finished.stdout


@contextmanager
def _slow_readers(port: int, path: str) -> Iterator[None]:
    command = [sys.executable, "-c", SLOW_READER, str(port), str(SLOW_READERS), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            yield
        finally:
            child.kill()


def slowly_read(server: Served, n: int, seconds: float) -> dict[str, Any]:
    """Return what slow readers of the first n numbers cost the server, and other clients.

    Returns:
        by how many bytes its memory grew at most, and the median and the longest time in ms
        that a client waited who asked for the first ten numbers meanwhile.
    """
    path = f"/fib/{n}"
    quick = HTTPConnection("127.0.0.1", server.port, timeout=QUICK_SECONDS)
    try:
        for warm in (path, "/fib/10", path, "/fib/10"):
            _ask(quick, warm)
        before = most = server.memory_bytes()
        taken = []
        with _slow_readers(server.port, path):
            deadline = time.perf_counter() + seconds
            next_look = 0.0
            while (started := time.perf_counter()) < deadline:
                is_answered = _is_answered(quick, "/fib/10")
                taken.append((time.perf_counter() - started) * 1000)
                if not is_answered:
                    break  # it waited for as long as anybody would
                if started > next_look:
                    most = max(most, server.memory_bytes())
                    next_look = started + 0.25
                time.sleep(0.002)  # one client, not a load
    finally:
        quick.close()
    return {"growth_bytes": most - before, "p50_ms": median(taken), "worst_ms": max(taken)}


def _is_answered(connection: HTTPConnection, path: str) -> bool:
    try:
        _ask(connection, path)
    except TimeoutError:
        return False
    return True


def _ask(connection: HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    reply = connection.getresponse()
    if reply.status != 200 or not reply.read():
        raise click.ClickException(f"{path}: {reply.status}")
