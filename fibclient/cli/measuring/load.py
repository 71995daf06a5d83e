"""Load generator: threads that repeat a request and record the outcomes."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from fibclient.cli.measuring.latency import Latencies
from fibclient.client import FibClient
from fibclient.errors import (
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)

__all__ = ["Load", "LoadResult"]

PAUSE_SECONDS = 0.05
"""The pause after a request that reached no server, to avoid a busy loop."""


@dataclass(slots=True)
class LoadResult:
    """The outcomes of requests.

    Attributes:
        latencies: The latencies of the successful requests.
        failures: The number of failures by kind: the code of an error reply, or a description.
        size_bytes: The total size of the replies.
        seconds: The duration of the load.
    """

    latencies: Latencies = field(default_factory=Latencies)
    failures: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.latencies.count + self.failures.total()


class Load:
    """A load of several threads, each of which sends one request after another."""

    def __init__(
        self, client: FibClient, count: int, format_name: str, threads: int, requests: int | None
    ) -> None:
        """Prepare a load.

        Args:
            client: A client with a connection for each thread.
            count: How many of the first numbers to request each time.
            format_name: The format to request.
            threads: The number of threads, >= 1.
            requests: The total number of requests; None for no limit.
        """
        self._client = client
        self._count = count
        self._format_name = format_name
        # next() is atomic for these iterators.
        self._tickets = iter(range(requests)) if requests is not None else itertools.count()
        self._results = [LoadResult() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(result,), daemon=True)
            for result in self._results
        ]
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        """The number of requests that have ended."""
        return sum(result.requests for result in self._results)

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the load to end; return whether it has ended."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def end(self, *, is_patient: bool) -> LoadResult:
        """Stop the load and return its outcome.

        Args:
            is_patient: Whether to wait for the replies to requests in flight; otherwise the
                client is closed.
        """
        self._is_over.set()
        if not is_patient:
            self._client.close()
        for thread in self._threads:
            thread.join()
        total = LoadResult(seconds=time.monotonic() - self._begin)
        for result in self._results:
            total.latencies.add(result.latencies)
            total.failures.update(result.failures)
            total.size_bytes += result.size_bytes
        return total

    def _run(self, result: LoadResult) -> None:
        read, count, format_name = self._client.read, self._count, self._format_name
        while not self._is_over.is_set() and next(self._tickets, None) is not None:
            begin = time.monotonic()
            try:
                encoded = read(0, count, format_name)
            except FibError as error:
                if self._is_over.is_set():
                    return  # interrupted by end()
                result.failures[_kind(error)] += 1
                if isinstance(error, ServerUnreachable):
                    self._is_over.wait(PAUSE_SECONDS)
            else:
                result.latencies.record(time.monotonic() - begin)
                result.size_bytes += len(encoded)


def _kind(error: FibError) -> str:
    match error:
        case RequestRefused():
            return error.code
        case DeadlineExceeded():
            return "too late"
        case ServerMisbehaved():
            return "misbehaved"
    return "unreachable"
