"""Load on an HTTP server: requests by wrk and ab, and slow readers."""

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
from side_by_side import Measurement

__all__ = ["ServerUnderTest", "ab", "measure_slow_readers", "wrk", "wrk_script"]

QUICK_SECONDS = 30
"""Timeout of the quick client; a longer wait counts as a failure."""

RUN_SECONDS = 300
"""Far above any measured time: reaching it is a failure, not a slow machine."""

WRK_THREADS = 1
"""Leaves one of two cores to the server."""

COUNTER = """
math.randomseed(os.time())
local start = math.random(0, 1000000000)
local count = 0
function request()
  count = count + 1
  return wrk.format("GET", %s)
end
"""
"""Script of wrk for requests that are all different; wrk has one thread here."""

PATHS = {
    "different": '"/fib/" .. (%(n)d - math.random(0, %(spread)d)) .. "?request=" .. start + count',
    "uncached": '"/fib/" .. (%(n)d - math.random(0, %(spread)d)) .. "?download=" .. start + count',
    "growing": '"/fib/%(n)d?x=" .. start + count',
    "new": '"/number/" .. 20000 + (start + count) %% 30000',
}
"""Lua for the path of each request: n up to a tenth less and a parameter that changes, which
fibweb ignores; the same with one that it reads; only a parameter that changes; single numbers of
4,000 to 10,000 digits, which fibweb does not cache."""

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
"""Program with many connections, each of which reads about 160 KB/s."""


class ServerUnderTest(NamedTuple):
    """A server under test.

    Attributes:
        port: Port on 127.0.0.1.
        pid: Process ID of its parent process.
    """

    port: int
    pid: int

    def memory_bytes(self) -> int:
        """Return the unshared memory (USS) of its processes."""
        first = psutil.Process(self.pid)
        family = [first, *first.children(recursive=True)]
        return sum(process.memory_full_info().uss for process in family)


def wrk(
    port: int, n: int, connections: int, seconds: float, *, kind: str = "repeated"
) -> Measurement:
    """Measure requests for the first n numbers with wrk.

    Args:
        port: Port of the server.
        n: How many numbers to request.
        connections: Number of persistent connections.
        seconds: Duration; rounded to whole seconds, at least one.
        kind: `repeated` if all requests are the same, or a key of `PATHS`.
    """
    command = ["wrk", "--latency", "-t", str(WRK_THREADS), "-c", str(connections)]
    command += ["-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if kind != "repeated":
            script.write(wrk_script(kind, n))
            script.flush()
            command += ["-s", script.name]
        text = _output([*command, f"http://127.0.0.1:{port}/fib/{n}"])
    if re.search(r"Non-2xx|Socket errors", text):
        raise click.ClickException(f"wrk reports failed requests to port {port}:\n{text}")
    rate, p50 = (
        re.search(r"Requests/sec:\s+([\d.]+)", text),
        re.search(r"50%\s+([\d.]+)(\w+)", text),
    )
    if rate is None or p50 is None:
        raise click.ClickException(f"cannot parse the output of wrk:\n{text}")
    return Measurement(float(rate[1]), float(p50[1]) * UNITS_MS[p50[2]])


def wrk_script(kind: str, n: int) -> str:
    """Return the script of wrk for one kind of requests, a key of `PATHS`."""
    return COUNTER % (PATHS[kind] % {"n": n, "spread": n // 10})


def ab(port: int, n: int, requests: int, *, keeps_alive: bool) -> dict[str, float]:
    """Measure with ab and 100 connections: requests/s, failures, p99 and worst time in ms."""
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


def measure_slow_readers(server: ServerUnderTest, n: int, seconds: float) -> dict[str, Any]:
    """Measure the effect of slow readers of the first n numbers.

    Returns:
        `growth_bytes`, the largest growth of the server's memory; `p50_ms` and `worst_ms`, the
        median and longest response time of another client that requests the first ten numbers.
    """
    path = f"/fib/{n}"
    quick = HTTPConnection("127.0.0.1", server.port, timeout=QUICK_SECONDS)
    try:
        for warm in (path, "/fib/10", path, "/fib/10"):
            _get(quick, warm)
        before = peak = server.memory_bytes()
        latencies_ms = []
        with _slow_readers(server.port, path):
            deadline = time.perf_counter() + seconds
            next_look = 0.0
            while (started := time.perf_counter()) < deadline:
                is_answered = _is_answered(quick, "/fib/10")
                latencies_ms.append((time.perf_counter() - started) * 1000)
                if not is_answered:
                    break  # it timed out
                if started > next_look:
                    peak = max(peak, server.memory_bytes())
                    next_look = started + 0.25
                time.sleep(0.002)  # a client, not a load generator
    finally:
        quick.close()
    return {
        "growth_bytes": peak - before,
        "p50_ms": median(latencies_ms),
        "worst_ms": max(latencies_ms),
    }


def _is_answered(connection: HTTPConnection, path: str) -> bool:
    try:
        _get(connection, path)
    except TimeoutError:
        return False
    return True


def _get(connection: HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200 or not response.read():
        raise click.ClickException(f"{path}: {response.status}")
