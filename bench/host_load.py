"""Load for `bench/scaling.py`, run on the host that asks: `host_load.py rpc|http TARGET SECONDS`.

It prints, as JSON, how many requests were answered rightly, wrongly and not at all, and how long
they took. Over HTTP nothing is tried again; fibclient tries again by itself, as it always does,
and how many servers answer it in the end is said as well.
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
RETURN_SECONDS = 20
"""For a server that is back: probes are some seconds apart by then."""

Ask = Callable[[int], bytes]


class Way(NamedTuple):
    """A way to ask.

    Attributes:
        connect: returns what asks, for one client.
        serving: returns how many servers answer in the end; None: this end cannot tell.
    """

    connect: Callable[[], Ask]
    serving: Callable[[], int | None]


def _expected(ask: Ask) -> dict[int, bytes]:
    return {n: hashlib.sha256(ask(n)).digest() for n in COUNTS}


@contextmanager
def _rpc(target: str) -> Iterator[Way]:
    with FibClient(target, cache_bytes=0, timeout_seconds=CALL_SECONDS) as client:
        yield Way(lambda: lambda n: client.read(0, n, "json"), lambda: _serving(client))


def _serving(client: FibClient) -> int:
    """Return how many servers answer from now on, once all do or that takes too long."""

    def succeeded() -> dict[str, int]:
        return {each.address: each.succeeded for each in client.stats().endpoints}

    before = succeeded()
    deadline = time.monotonic() + RETURN_SECONDS
    while True:
        client.read(0, 10, "json")
        count = sum(now > before[address] for address, now in succeeded().items())
        if count == len(before) or time.monotonic() > deadline:
            return count


@contextmanager
def _http(target: str) -> Iterator[Way]:
    def connect() -> Ask:
        host, _, port = target.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS)

        def ask(n: int) -> bytes:
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

        return ask

    yield Way(connect, lambda: None)


class _Clients:
    """Those that ask, and what they have seen."""

    def __init__(self, connect: Callable[[], Ask], until: float) -> None:
        self.seconds: list[float] = []
        self.lost: list[str] = []
        self.wrong = 0
        self._connect = connect
        self._until = until
        self._expected = _expected(connect())
        self._lock = threading.Lock()

    def run(self) -> None:
        """Ask until it is time."""
        threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask_on(self) -> None:
        ask = self._connect()
        while time.monotonic() < self._until:
            n = random.choice(COUNTS)
            began = time.monotonic()
            error, is_right = "", True
            try:
                is_right = hashlib.sha256(ask(n)).digest() == self._expected[n]
            except (FibError, OSError, http.client.HTTPException) as failure:
                error = repr(failure)
            with self._lock:
                self.seconds.append(time.monotonic() - began)
                self.wrong += not is_right
                if error:
                    self.lost.append(error)
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Ask, and print what came of it."""
    kind, target, seconds = sys.argv[1:]
    with {"rpc": _rpc, "http": _http}[kind](target) as way:
        clients = _Clients(way.connect, time.monotonic() + float(seconds))
        print("asking", flush=True)
        clients.run()
        print("done", flush=True)
        serving = way.serving()
    taken = sorted(clients.seconds)
    report = {
        "requests": len(taken),
        "lost": len(clients.lost),
        "wrong": clients.wrong,
        "slow": sum(each > SLOW_SECONDS for each in taken),
        "p50_ms": taken[len(taken) // 2] * 1000,
        "p99_ms": taken[len(taken) * 99 // 100] * 1000,
        "worst_ms": taken[-1] * 1000,
        "serving": serving,
        "errors": sorted(set(clients.lost))[:5],
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
