"""Tests for the queue of fetches."""

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient import EncodedSlice
from fibcommon.costs import EXPENSIVE_SECONDS
from fibweb.content.fetch_request import FetchRequest, SliceRead
from fibweb.overload.fetch_queue import (
    BATCH_BYTES,
    BATCH_JOBS,
    MAX_WAIT_SECONDS,
    MAX_WAITERS,
    Batch,
    FetchQueue,
    Rejected,
)

CHEAP, EXPENSIVE = EXPENSIVE_SECONDS / 10, EXPENSIVE_SECONDS * 5

_numbers = itertools.count()


def fetch(cost_seconds: float, key: object = None) -> FetchRequest:
    """Return a fetch, by default with a unique key."""
    key = next(_numbers) if key is None else key
    return FetchRequest(key, cost_seconds, 1, lambda _: b"")


def read(cost_seconds: float = 1e-4, size_bytes: int = 1, client: object = None) -> FetchRequest:
    """Return a fetch that reads with a client."""
    source = SliceRead(cast(Any, client), EncodedSlice.of(0, 1, "text"))
    return FetchRequest(next(_numbers), cost_seconds, size_bytes, lambda _: b"", source)


def taken(queue: FetchQueue[str], now: float = 0.0) -> list[Batch[str]]:
    """Return all batches that may run now."""
    return list(iter(lambda: queue.start_next(now), None))


def waiters(batches: list[Batch[str]]) -> list[str]:
    """Return the waiters of batches."""
    return [waiter for batch in batches for job in batch.jobs for waiter in job.waiters]


def admitted(queue: FetchQueue[str], cost_seconds: float) -> int:
    """Add fetches of one cost until one is refused; return the number accepted."""
    for count in range(MAX_WAITERS):
        try:
            queue.add(fetch(cost_seconds), f"{count}", 0.0)
        except Rejected:
            return count
    return MAX_WAITERS


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
def test_expensive_fetches_leave_threads_to_cheap_ones(threads: int) -> None:
    """Expensive fetches use at most half of the threads."""
    queue: FetchQueue[str] = FetchQueue(threads)
    for number in range(20):
        queue.add(fetch(EXPENSIVE), f"expensive {number}", 0.0)
    assert len(taken(queue)) == threads // 2
    queue.add(fetch(CHEAP), "cheap", 1.0)
    assert waiters(taken(queue)) == ["cheap"]


def test_cheap_fetches_leave_a_thread_to_expensive_ones() -> None:
    """A stream of cheap fetches does not starve expensive ones."""
    queue: FetchQueue[str] = FetchQueue(4)
    for number in range(10):
        queue.add(fetch(CHEAP), f"cheap {number}", 0.0)
    running = taken(queue)
    assert len(running) == 4
    queue.add(fetch(EXPENSIVE), "expensive", 1.0)
    queue.finish(running[0], 1.0, is_success=True)
    assert waiters(taken(queue)) == ["expensive"]


def test_one_thread_serves_both() -> None:
    """With a single thread both classes share one order."""
    queue: FetchQueue[str] = FetchQueue(1)
    queue.add(fetch(EXPENSIVE), "expensive", 0.0)
    queue.add(fetch(CHEAP), "cheap", 0.0)
    queue.add(fetch(CHEAP), "late", 1e3)
    order = []
    while jobs := taken(queue):
        order += waiters(jobs)
        queue.finish(jobs[0], 0.0, is_success=False)
    assert order == ["cheap", "expensive", "late"]


def test_cheapest_fetch_runs_first_without_starvation() -> None:
    """Of simultaneous fetches the cheapest runs first; one that has waited is not overtaken."""
    queue: FetchQueue[str] = FetchQueue(2)
    queue.add(fetch(0.1), "runs", 0.0)
    batches = taken(queue)
    assert waiters(batches) == ["runs"]
    for cost in (0.4, 0.1, 0.2):
        queue.add(fetch(cost), f"{cost}", 0.0)
    queue.add(fetch(0.1), "0.1 after 4 s", 4.0)
    order = []
    while batches:
        queue.finish(batches[0], 0.0, is_success=False)
        batches = taken(queue)
        order += waiters(batches)
    assert order == ["0.1", "0.2", "0.4", "0.1 after 4 s"]


def test_waiters_for_same_bytes_share_a_fetch() -> None:
    """Waiters for the same bytes share one fetch, even if it runs already."""
    queue: FetchQueue[str] = FetchQueue(2)
    queue.add(fetch(CHEAP, "same"), "a", 0.0)
    queue.add(fetch(CHEAP, "same"), "b", 0.0)
    assert queue.waiting == 2
    (batch,) = taken(queue)
    assert queue.waiting == 0
    queue.add(fetch(CHEAP, "same"), "c", 0.0)
    assert not taken(queue)
    assert queue.finish(batch, 1.0, is_success=True) == [["a", "b", "c"]]
    assert len(queue) == queue.running == 0


def test_fetch_is_cancelled_with_last_waiter() -> None:
    """The removal of the last waiter removes a queued fetch and cancels a running one."""
    queue: FetchQueue[str] = FetchQueue(1)
    queue.add(fetch(CHEAP), "runs", 0.0)
    (batch,) = taken(queue)
    queue.add(fetch(CHEAP, "same"), "a", 0.0)
    queue.add(fetch(CHEAP, "same"), "b", 0.0)
    assert queue.remove("a") is None
    assert queue.remove("b") is None
    assert queue.remove("nobody") is None
    assert (queue.waiting, len(queue)) == (0, 1)
    assert queue.remove("runs") is batch
    queue.add(fetch(CHEAP, batch.jobs[0].fetch.key), "begins anew", 0.0)
    assert queue.finish(batch, 1.0, is_success=False) == [[]]
    assert waiters(taken(queue)) == ["begins anew"]


def sizes_of_batches(fetches: list[FetchRequest], threads: int = 4) -> list[int]:
    """Return the numbers of jobs of the batches that some fetches become."""
    queue: FetchQueue[str] = FetchQueue(threads)
    for number, wanted in enumerate(fetches):
        queue.add(wanted, f"{number}", 0.0)
    return [len(batch.jobs) for batch in taken(queue)]


def test_one_thread_takes_many_small_reads() -> None:
    """Small reads run together, within bounds of their number, bytes and cost."""
    assert sizes_of_batches([read() for _ in range(10)]) == [10]
    assert sizes_of_batches([read(0.0) for _ in range(BATCH_JOBS + 1)]) == [BATCH_JOBS, 1]
    assert sizes_of_batches([read(size_bytes=BATCH_BYTES // 2) for _ in range(3)]) == [2, 1]
    assert sizes_of_batches([read(EXPENSIVE_SECONDS / 2) for _ in range(3)]) == [2, 1]
    assert sizes_of_batches([read(EXPENSIVE) for _ in range(2)]) == [1, 1]


def test_other_fetches_run_alone() -> None:
    """A fetch that reads no slice, or with another client, runs in a batch of its own."""
    assert sizes_of_batches([fetch(CHEAP) for _ in range(3)]) == [1, 1, 1]
    assert sizes_of_batches([read(), read(client="other"), read()]) == [1, 1, 1]


def test_batch_is_cancelled_with_its_last_waiter() -> None:
    """A batch goes on as long as any of its jobs has a waiter."""
    queue: FetchQueue[str] = FetchQueue(1)
    for waiter in ("a", "b"):
        queue.add(read(), waiter, 0.0)
    (batch,) = taken(queue)
    assert queue.remove("a") is None
    assert queue.remove("b") is batch
    assert queue.finish(batch, 1.0, is_success=False) == [[], []]
    assert len(queue) == queue.running == 0


def test_a_long_wait_is_refused_at_once() -> None:
    """A fetch is refused if its predicted wait is too long; a cheaper one is accepted."""
    queue: FetchQueue[str] = FetchQueue(2)
    count = admitted(queue, 0.4)
    assert count == pytest.approx(MAX_WAIT_SECONDS / 0.4, abs=2)
    with pytest.raises(Rejected) as refused:
        queue.add(fetch(0.4), "one more", 0.0)
    assert refused.value.reason == "late"
    assert refused.value.wait_seconds > MAX_WAIT_SECONDS
    queue.add(fetch(0.1), "shorter", 0.0)
    queue.add(fetch(CHEAP), "cheap", 0.0)


def test_the_prediction_follows_what_fetches_take() -> None:
    """If fetches take ten times as long as predicted, a tenth of them is accepted."""
    queue: FetchQueue[str] = FetchQueue(2)
    for number in range(50):
        queue.add(fetch(0.1), "measures", 0.0)
        (batch,) = taken(queue, float(number))
        queue.finish(batch, number + 1.0, is_success=True)
    assert admitted(queue, 0.1) == pytest.approx(MAX_WAIT_SECONDS, abs=2)


def test_the_queue_has_a_length() -> None:
    """Beyond the maximum of waiters all are refused, except waiters for a running fetch."""
    queue: FetchQueue[str] = FetchQueue(1)
    queue.add(fetch(1e-6, "runs"), "runs", 0.0)
    taken(queue)
    for number in range(MAX_WAITERS):
        queue.add(fetch(1e-6), f"{number}", 0.0)
    with pytest.raises(Rejected) as refused:
        queue.add(fetch(1e-6), "one more", 0.0)
    assert refused.value.reason == "full"
    queue.add(fetch(1e-6, "runs"), "joins", 0.0)
    queue.remove("0")
    queue.add(fetch(1e-6), "another", 0.0)


def test_waiters_for_expensive_fetches_leave_room_for_cheap_ones() -> None:
    """Waiters for expensive fetches do not make the queue refuse cheap ones."""
    queue: FetchQueue[str] = FetchQueue(4)
    for number in range(3):
        queue.add(fetch(EXPENSIVE, f"expensive {number}"), f"runs {number}", 0.0)
    taken(queue)
    for number in range(MAX_WAITERS - 1):
        queue.add(fetch(EXPENSIVE, "expensive 2"), f"{number}", 0.0)
    with pytest.raises(Rejected):
        queue.add(fetch(EXPENSIVE, "expensive 2"), "one more", 0.0)
    queue.add(fetch(CHEAP), "cheap", 0.0)
    assert waiters(taken(queue)) == ["cheap"]


def test_a_response_in_progress_is_never_refused() -> None:
    """The next piece of a response in progress is always accepted and does not expire."""
    queue: FetchQueue[str] = FetchQueue(2)
    queue.add(fetch(EXPENSIVE), "runs", 0.0)
    (batch,) = taken(queue)
    admitted(queue, 0.4)
    piece = fetch(0.4)
    with pytest.raises(Rejected):
        queue.add(piece, "new", 0.0)
    queue.add(piece, "started", 0.0, is_started=True)
    expired = queue.expired(MAX_WAIT_SECONDS + 1)
    assert expired
    assert "started" not in [waiter for _, waiter in expired]
    queue.finish(batch, 10.0, is_success=True)
    assert waiters(taken(queue)) == ["started"]


def test_removed_waiters_leave_nothing() -> None:
    """Removed waiters leave nothing in the queue."""
    queue: FetchQueue[str] = FetchQueue(2)
    queue.add(fetch(EXPENSIVE), "runs", 0.0)
    taken(queue)
    queue.add(fetch(EXPENSIVE), "waits", 0.0)
    for number in range(10_000):
        queue.add(
            fetch(1e6 if number % 2 else EXPENSIVE * 2), "comes and goes", 0.0, is_started=True
        )
        queue.remove("comes and goes")
    assert len(queue._expensive._heap) < 200


def test_a_wait_that_was_too_long_ends() -> None:
    """Fetches that have waited for too long expire and do not run."""
    queue: FetchQueue[str] = FetchQueue(1)
    queue.add(fetch(CHEAP), "runs", 0.0)
    taken(queue)
    late, young = fetch(CHEAP), fetch(CHEAP)
    queue.add(late, "late", 0.0)
    queue.add(young, "young", 4.0)
    assert queue.expired(MAX_WAIT_SECONDS) == []
    assert queue.expired(MAX_WAIT_SECONDS + 1) == [(late, "late")]
    assert (queue.waiting, len(queue)) == (1, 2)
    assert queue.remove("late") is None


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.sampled_from(["add", "leave", "finish"]), st.integers(0, 9), st.floats(0, 1)),
        max_size=60,
    ),
)
def test_every_waiter_is_served(threads: int, steps: list[tuple[str, int, float]]) -> None:
    """In any sequence of events, each waiter that is not removed is served in the end."""
    queue: FetchQueue[int] = FetchQueue(threads)
    running: list[Batch[int]] = []
    waiting: set[int] = set()
    for now, (step, number, cost) in enumerate(steps):
        if step == "add" and number not in waiting:
            try:
                wanted = fetch(cost + 1e-6, number // 2) if number % 2 else read(cost / 100)
                queue.add(wanted, number, float(now))
            except Rejected:
                continue
            waiting.add(number)
        elif step == "leave":
            queue.remove(number)
            waiting.discard(number)
        elif step == "finish" and running:
            served = queue.finish(running.pop(0), float(now), is_success=True)
            waiting -= set(itertools.chain(*served))
        running += iter(lambda now=now: queue.start_next(float(now)), None)  # type: ignore[misc]
        assert len(running) <= threads
    for _ in range(200):
        if not running:
            break
        waiting -= set(itertools.chain(*queue.finish(running.pop(0), 1e3, is_success=True)))
        running += iter(lambda: queue.start_next(1e3), None)
    assert not waiting
    assert len(queue) == queue.running == queue.waiting == 0
