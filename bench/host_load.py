"""Load generator of `bench/scaling.py`, run on the client's host.

Usage: `host_load.py rpc|http TARGET SECONDS`. It prints as JSON how many requests got a wrong
reply or none, and the latencies. HTTP requests are not retried; fibclient retries as usual, and
the report includes how many servers reply in the end.
"""

import hashlib
import http.client
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fibclient import FibClient, FibError

__all__ = ["main"]

CLIENTS = 8
COUNTS = (10, 300, 1000, 3000)
HTTP_SECONDS = 10
CALL_SECONDS = 20.0
SLOW_SECONDS = 1.0
PAUSE_SECONDS = 0.002
RECOVERY_SECONDS = 20
"""Time for a server that came back to get requests: fibclient probes it every few seconds."""

Fetch = Callable[[int], bytes]


class LoadTarget(NamedTuple):
    """Connections to the target of the load.

    Attributes:
        connect: Returns a function that fetches the first n numbers, for one client.
        serving: Returns how many servers reply in the end; None if the client cannot see it.
    """

    connect: Callable[[], Fetch]
    serving: Callable[[], int | None]


def _expected(fetch: Fetch) -> dict[int, bytes]:
    return {n: hashlib.sha256(fetch(n)).digest() for n in COUNTS}


@contextmanager
def _rpc(target: str) -> Iterator[LoadTarget]:
    with FibClient(target, cache_bytes=0, timeout_seconds=CALL_SECONDS) as client:
        yield LoadTarget(lambda: lambda n: client.read(0, n, "json"), lambda: _serving(client))


def _serving(client: FibClient) -> int:
    """Return how many servers reply, after all do or `RECOVERY_SECONDS` have passed."""

    def succeeded() -> dict[str, int]:
        return {endpoint.address: endpoint.succeeded for endpoint in client.stats().endpoints}

    before = succeeded()
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        client.read(0, 10, "json")
        count = sum(now > before[address] for address, now in succeeded().items())
        if count == len(before) or time.monotonic() > deadline:
            return count


@contextmanager
def _http(target: str) -> Iterator[LoadTarget]:
    def connect() -> Fetch:
        host, _, port = target.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS)

        def fetch(n: int) -> bytes:
            try:
                connection.request("GET", f"/fib?start=0&count={n}")
                reply = connection.getresponse()
                body = reply.read()
            except BaseException:
                connection.close()
                raise
            if reply.status != 200:
                raise http.client.HTTPException(f"{reply.status}")
            return body

        return fetch

    yield LoadTarget(connect, lambda: None)


class _LoadClients:
    """Threads that fetch numbers, and the results."""

    def __init__(self, connect: Callable[[], Fetch], until: float) -> None:
        self.seconds: list[float] = []
        self.lost: list[str] = []
        self.wrong = 0
        self._connect = connect
        self._until = until
        self._expected = _expected(connect())
        self._lock = threading.Lock()

    def run(self) -> None:
        """Fetch numbers until the time is over."""
        threads = [threading.Thread(target=self._send_requests) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send_requests(self) -> None:
        fetch = self._connect()
        while time.monotonic() < self._until:
            n = random.choice(COUNTS)
            started = time.monotonic()
            error, is_correct = "", True
            try:
                is_correct = hashlib.sha256(fetch(n)).digest() == self._expected[n]
            except (FibError, OSError, http.client.HTTPException) as failure:
                error = repr(failure)
            with self._lock:
                self.seconds.append(time.monotonic() - started)
                self.wrong += not is_correct
                if error:
                    self.lost.append(error)
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Generate the load, and print the report."""
    kind, target, seconds = sys.argv[1:]
    with {"rpc": _rpc, "http": _http}[kind](target) as load:
        clients = _LoadClients(load.connect, time.monotonic() + float(seconds))
        print("asking", flush=True)
        clients.run()
        print("done", flush=True)
        serving = load.serving()
    latencies = sorted(clients.seconds)
    report = {
        "requests": len(latencies),
        "lost": len(clients.lost),
        "wrong": clients.wrong,
        "slow": sum(latency > SLOW_SECONDS for latency in latencies),
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "worst_ms": latencies[-1] * 1000,
        "serving": serving,
        "errors": sorted(set(clients.lost))[:5],
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
