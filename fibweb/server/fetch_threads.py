"""Thread pool that runs fetches from fibservers.

Only the event loop uses the queue. A thread runs one fetch and posts the result to the loop, which
passes it to the waiters. So a slow reader holds no thread. When the last waiter for a fetch
disconnects, the fetch is removed from the queue, or cancelled on its thread.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from fibclient import CallCancelled, Cancellation, FibError
from fibweb.content.fetch_request import FetchRequest, Overloaded
from fibweb.overload.fetch_queue import FetchQueue, Job, Rejected

__all__ = ["FetchThreads", "Waiter"]

log = logging.getLogger(__name__)

MAX_RETRY_AFTER_SECONDS = 10

_MESSAGES = {
    "full": "too many requests wait for numbers: try again later",
    "evicted": "the numbers were evicted from memory again and again: try again later",
    "late": "the numbers would not be computed in time: try again later",
    "surplus": "there are too many connections: try again later",
    "expired": "the numbers were not computed in time: try again later",
}
"""Message for each reason to reject a request."""


class Waiter(Protocol):
    """Connection that waits for a fetch."""

    def on_fetched(self, fetch: FetchRequest, result: bytes | Exception) -> None:
        """Continue after a fetch with its bytes or its error."""


class FetchThreads:
    """Runs fetches on threads; all methods but `_run` are for the event loop.

    Attributes:
        rejections: Number of rejected requests, by reason.
        cancelled: Number of fetches dropped because their last waiter disconnected.
    """

    def __init__(
        self,
        threads: int,
        timeout_seconds: float,
        call_soon_threadsafe: Callable[[Callable[[], None]], None],
    ) -> None:
        """Create the threads.

        Args:
            threads: Number of fetches that run concurrently, >= 1.
            timeout_seconds: Time limit of a fetch, its wait in the queue included.
            call_soon_threadsafe: Calls a function on the event loop.
        """
        self.rejections = Counter(dict.fromkeys(_MESSAGES, 0))
        self.cancelled = 0
        self._timeout = timeout_seconds
        self._call_soon = call_soon_threadsafe
        self._queue: FetchQueue[Waiter] = FetchQueue(threads)
        self._threads = ThreadPoolExecutor(threads, "fetch")
        self._running: dict[Job[Waiter], Cancellation] = {}
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return self._queue.waiting

    @property
    def running(self) -> int:
        """How many fetches run."""
        return self._queue.running

    def add(self, fetch: FetchRequest, waiter: Waiter) -> None:
        """Queue a fetch; `on_fetched` of the waiter is called with its result.

        Raises:
            Overloaded: The queue does not accept it.
        """
        now = time.monotonic()
        try:
            self._queue.add(fetch, waiter, now)
        except Rejected as rejected:
            raise self.rejection(rejected.reason, rejected.wait_seconds) from None
        self._start_next(now)

    def add_next(self, fetch: FetchRequest, waiter: Waiter) -> None:
        """Queue the next piece of a response in progress, which is never rejected."""
        now = time.monotonic()
        self._queue.add(fetch, waiter, now, is_started=True)
        self._start_next(now)

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter that has disconnected; cancel its fetch if it was the last one."""
        before = len(self._queue)
        job = self._queue.remove(waiter)
        if job is not None:
            self._running[job].cancel()
        self.cancelled += before - len(self._queue)

    def tick(self) -> None:
        """Refuse waiters and cancel fetches that exceed their time limits.

        The server calls this several times a second.
        """
        now = time.monotonic()
        for fetch, waiter in self._queue.expired(now):
            waiter.on_fetched(fetch, self.rejection("expired"))
        for job, cancellation in self._running.items():
            if now - job.added_at > self._timeout:
                cancellation.cancel()

    def rejection(self, reason: str, wait_seconds: float = 0.0) -> Overloaded:
        """Count a request that is rejected, and return what to raise.

        Args:
            reason: A key of `_MESSAGES`.
            wait_seconds: The predicted wait; 0 if it is not known.
        """
        self.rejections[reason] += 1
        longest = min(MAX_RETRY_AFTER_SECONDS, 2 + int(wait_seconds))
        return Overloaded(_MESSAGES[reason], random.randint(1, longest))

    def _start_next(self, now: float) -> None:
        while not self._is_closed and (job := self._queue.start_next(now)) is not None:
            cancellation = self._running[job] = Cancellation()
            self._threads.submit(self._run, job, cancellation)

    def _run(self, job: Job[Waiter], cancellation: Cancellation) -> None:
        result: bytes | Exception
        try:
            result = job.fetch.run(cancellation)
        except FibError as error:
            result = error
        except Exception as error:
            log.exception("cannot fetch %s", job.fetch.key)
            result = error
        self._call_soon(lambda: self._finish(job, result))

    def _finish(self, job: Job[Waiter], result: bytes | Exception) -> None:
        now = time.monotonic()
        del self._running[job]
        # An empty result does not count as a measurement: no numbers were requested.
        waiters = self._queue.finish(
            job, now, is_success=isinstance(result, bytes) and result != b""
        )
        self._start_next(now)
        is_late = isinstance(result, CallCancelled)
        for waiter in waiters:
            waiter.on_fetched(job.fetch, self.rejection("expired") if is_late else result)

    def close(self) -> None:
        """Cancel all fetches and let the threads end."""
        self._is_closed = True
        for cancellation in self._running.values():
            cancellation.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
