"""Thread pool that runs fetches from fibservers.

Only the event loop uses the queue. A thread runs one fetch, or several small ones in one round
trip, and posts the results to the loop, which passes them to the waiters. So a slow reader holds
no thread. When the last waiter for a fetch disconnects, the fetch is removed from the queue, or
cancelled on its thread.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from fibclient import CallCancelled, Cancellation, FibError
from fibweb.content.fetch_request import FetchRequest, Overloaded
from fibweb.overload.fetch_queue import Batch, FetchQueue, Rejected
from fibweb.server.event_loop import Loop

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

    def __init__(self, threads: int, timeout_seconds: float, loop: Loop) -> None:
        """Create the threads.

        Args:
            threads: Number of threads, >= 1.
            timeout_seconds: Time limit of a fetch, its wait in the queue included.
            loop: The event loop.
        """
        self.rejections = Counter(dict.fromkeys(_MESSAGES, 0))
        self.cancelled = 0
        self._timeout = timeout_seconds
        self._loop = loop
        self._queue: FetchQueue[Waiter] = FetchQueue(threads)
        self._threads = ThreadPoolExecutor(threads, "fetch")
        self._running: dict[Batch[Waiter], Cancellation] = {}
        self._is_scheduled = False
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
        self._schedule()

    def add_next(self, fetch: FetchRequest, waiter: Waiter) -> None:
        """Queue the next piece of a response in progress, which is never rejected."""
        self._queue.add(fetch, waiter, time.monotonic(), is_started=True)
        self._schedule()

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter that has disconnected; cancel its fetch if it was the last one."""
        before = len(self._queue)
        batch = self._queue.remove(waiter)
        if batch is not None:
            self._running[batch].cancel()
        self.cancelled += before - len(self._queue)

    def tick(self) -> None:
        """Refuse waiters and cancel fetches that exceed their time limits.

        The server calls this several times a second.
        """
        now = time.monotonic()
        for fetch, waiter in self._queue.expired(now):
            waiter.on_fetched(fetch, self.rejection("expired"))
        for batch, cancellation in self._running.items():
            if now - batch.jobs[0].added_at > self._timeout:
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

    def _schedule(self) -> None:
        """Start batches when the requests of this iteration of the loop are in the queue."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.defer(self)

    def handle_turn(self) -> None:
        """Start the next batches on idle threads."""
        self._is_scheduled = False
        now = time.monotonic()
        while not self._is_closed and (batch := self._queue.start_next(now)) is not None:
            cancellation = self._running[batch] = Cancellation()
            self._threads.submit(self._run, batch, cancellation)

    def end_turn(self) -> None:
        """Do nothing: the threads go on."""

    def handle_error(self) -> None:
        """Log the current exception."""
        log.exception("cannot start a fetch")

    def _run(self, batch: Batch[Waiter], cancellation: Cancellation) -> None:
        fetches = [job.fetch for job in batch.jobs]
        results: Sequence[bytes | Exception]
        try:
            results = _results(fetches, cancellation)
        except FibError as error:
            results = [error] * len(fetches)
        except Exception as error:
            log.exception("cannot fetch %s", ", ".join(str(fetch.key) for fetch in fetches))
            results = [error] * len(fetches)
        self._loop.call_soon_threadsafe(lambda: self._finish(batch, results))

    def _finish(self, batch: Batch[Waiter], results: Sequence[bytes | Exception]) -> None:
        del self._running[batch]
        # An empty result does not count as a measurement: no numbers were requested.
        is_success = all(isinstance(result, bytes) and result for result in results)
        waiters = self._queue.finish(batch, time.monotonic(), is_success=is_success)
        if self.waiting:
            self._schedule()
        for job, result, fetched in zip(batch.jobs, results, waiters, strict=True):
            is_late = isinstance(result, CallCancelled)
            for waiter in fetched:
                waiter.on_fetched(job.fetch, self.rejection("expired") if is_late else result)

    def close(self) -> None:
        """Cancel all fetches and let the threads end."""
        self._is_closed = True
        for cancellation in self._running.values():
            cancellation.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _results(
    fetches: Sequence[FetchRequest], cancellation: Cancellation
) -> Sequence[bytes | Exception]:
    """Return the bytes or the error of each fetch of a batch; a single one may raise instead."""
    reads = [fetch.read for fetch in fetches if fetch.read is not None]
    if len(fetches) == 1 or not reads:
        return [fetch.run(cancellation) for fetch in fetches]
    return reads[0].client.read_many([read.slice for read in reads], cancellation=cancellation)
