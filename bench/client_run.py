"""Process that measures one side of a case of `bench/client.py`.

It repeats a call for some seconds, on one or several threads that share a client, and prints its
rate and latency as JSON. In separate processes the imports, the garbage and the threads of one
side do not slow down the other; each side imports only what it uses.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import pairwise
from statistics import median
from threading import Barrier
from typing import Any

__all__ = ["CALLS", "MAX_THREADS", "key"]

MAX_THREADS = 16

START_SECONDS = 60
"""Far above any measured time: reaching it is a failure, not a slow machine."""

Call = Callable[[], Any]


def key(n: int) -> str:
    """Return the key of the first n numbers in redis-server."""
    return f"f:{n}"


@contextmanager
def _fibclient(port: int, **options: Any) -> Iterator[Any]:
    from fibclient import FibClient

    with FibClient(f"127.0.0.1:{port}", max_connections=MAX_THREADS, **options) as client:
        yield client


@contextmanager
def _read(port: int, n: int) -> Iterator[Call]:
    with _fibclient(port, cache_bytes=0) as fib:
        yield partial(fib.read, 0, n, "json")


@contextmanager
def _cached(port: int, n: int) -> Iterator[Call]:
    with _fibclient(port) as fib:
        yield partial(fib.read, 0, n, "json")


@contextmanager
def _first(port: int, n: int) -> Iterator[Call]:
    with _fibclient(port, cache_bytes=0) as fib:
        yield partial(fib.first, n)


@contextmanager
def _submit(port: int, n: int) -> Iterator[Call]:
    with _fibclient(port, cache_bytes=0) as fib:
        yield lambda: fib.submit("read", 0, n, "json").result()


@contextmanager
def _redis(port: int) -> Iterator[Any]:
    """Open the fastest redis-py client that all threads can share.

    Without a timeout it needs no poll() before each recv(); with a large buffer it needs fewer
    recv() for a large reply; the pool that does not wait for a connection is the faster one.
    """
    import redis
    from redis.connection import DefaultParser

    if DefaultParser.__name__ != "_HiredisParser":
        raise SystemExit(f"redis-py parses with {DefaultParser.__name__}: install hiredis")
    pool = redis.ConnectionPool(
        host="127.0.0.1",
        port=port,
        protocol=2,
        socket_timeout=None,
        socket_read_size=REDIS_READ_BYTES,
        max_connections=MAX_THREADS,
    )
    with redis.Redis.from_pool(pool) as client:
        yield client


@contextmanager
def _get(port: int, n: int) -> Iterator[Call]:
    with _redis(port) as client:
        yield partial(client.get, key(n))


@contextmanager
def _get_ints(port: int, n: int) -> Iterator[Call]:
    with _redis(port) as client:
        yield lambda: list(map(int, json.loads(b"[%b]" % client.get(key(n)))))


CALLS: dict[str, Callable[[int, int], AbstractContextManager[Call]]] = {
    "read": _read,
    "cached": _cached,
    "first": _first,
    "submit": _submit,
    "get": _get,
    "get ints": _get_ints,
}
"""Functions that open a client, given the port of a server and n, and yield the call to repeat."""

REDIS_READ_BYTES = 256 * 1024


def _digest(numbers: Any) -> str:
    """Return a digest of numbers, which is the same for `json` bytes and a list of ints."""
    if isinstance(numbers, list):
        numbers = ",".join(f'"{number}"' for number in numbers).encode()
    return hashlib.sha256(numbers).hexdigest()


def _repeat(call: Call, barrier: Barrier, seconds: float) -> list[float]:
    """Repeat a call once all threads are ready; return the times between the calls."""
    barrier.wait()
    times = [time.perf_counter()]
    end = times[0] + seconds
    while times[-1] < end:
        call()
        times.append(time.perf_counter())
    return times


def _measure(call: Call, threads: int, seconds: float) -> dict[str, float]:
    barrier = Barrier(threads, timeout=START_SECONDS)
    with ThreadPoolExecutor(threads) as executor:
        for warm_up in [executor.submit(call) for _ in range(threads)]:
            warm_up.result()
        jobs = [executor.submit(_repeat, call, barrier, seconds) for _ in range(threads)]
        runs = [job.result() for job in jobs]
    wall_seconds = max(run[-1] for run in runs) - min(run[0] for run in runs)
    latencies = [after - before for run in runs for before, after in pairwise(run)]
    return {"rate": len(latencies) / wall_seconds, "p50_ms": median(latencies) * 1000}


def main() -> None:
    """Measure the call that the command line names."""
    name, n, threads, seconds, port = sys.argv[1:]
    with CALLS[name](int(port), int(n)) as call:
        digest = _digest(call())
        figures = _measure(call, int(threads), float(seconds))
    print(json.dumps({"digest": digest, **figures}))


if __name__ == "__main__":
    main()
