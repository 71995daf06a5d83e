"""A load: threads that ask for the same numbers again and again, and count what happens."""

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

__all__ = ["Load", "Outcome"]

PAUSE_SECONDS = 0.05
"""After a request that found no server: to ask again at once would measure nothing."""


@dataclass(slots=True)
class Outcome:
    """What has happened to requests.

    Attributes:
        latencies: of those answered.
        failures: the others, by kind: the code of a refusal, or what went wrong in a word.
        size_bytes: of all answers.
        seconds: the time it took.
    """

    latencies: Latencies = field(default_factory=Latencies)
    failures: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.latencies.count + self.failures.total()


class Load:
    """So many threads, each with one request after the other."""

    def __init__(
        self, client: FibClient, count: int, format_name: str, threads: int, requests: int | None
    ) -> None:
        """Describe a load.

        Args:
            client: has a connection for each thread.
            count: how many numbers each request is for, from the first.
            format_name: the format of the answers.
            threads: how many, >= 1.
            requests: after how many it ends by itself; None for never.
        """
        self._client = client
        self._count = count
        self._format_name = format_name
        # To take the next of an iterator is atomic.
        self._turns = iter(range(requests)) if requests is not None else itertools.count()
        self._outcomes = [Outcome() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._ask, args=(outcome,), daemon=True)
            for outcome in self._outcomes
        ]
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begin to ask."""
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        """How many requests have ended."""
        return sum(outcome.requests for outcome in self._outcomes)

    def wait(self, seconds: float) -> bool:
        """Wait for the end, but not longer than this; return whether it has come."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def end(self, *, is_patient: bool) -> Outcome:
        """End it, and return what has happened.

        Args:
            is_patient: whether to wait for the answers that are on their way.
        """
        self._is_over.set()
        if not is_patient:
            self._client.close()
        for thread in self._threads:
            thread.join()
        whole = Outcome(seconds=time.monotonic() - self._begin)
        for outcome in self._outcomes:
            whole.latencies.add(outcome.latencies)
            whole.failures.update(outcome.failures)
            whole.size_bytes += outcome.size_bytes
        return whole

    def _ask(self, outcome: Outcome) -> None:
        read, count, format_name = self._client.read, self._count, self._format_name
        while not self._is_over.is_set() and next(self._turns, None) is not None:
            begin = time.monotonic()
            try:
                answer = read(0, count, format_name)
            except FibError as error:
                if self._is_over.is_set():
                    return  # it was cut short
                outcome.failures[_kind(error)] += 1
                if isinstance(error, ServerUnreachable):
                    self._is_over.wait(PAUSE_SECONDS)
            else:
                outcome.latencies.record(time.monotonic() - begin)
                outcome.size_bytes += len(answer)


def _kind(error: FibError) -> str:
    match error:
        case RequestRefused():
            return error.code
        case DeadlineExceeded():
            return "too late"
        case ServerMisbehaved():
            return "misbehaved"
    return "unreachable"
