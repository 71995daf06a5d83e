"""Fair semaphore: limit and order of its permits."""

import threading
import time
from functools import partial

import pytest

from fibclient.errors import ClientClosed, DeadlineExceeded
from fibclient.transport.fair_semaphore import FairSemaphore
from tests.support.waiting import wait_until

SOON = 30.0


def later() -> float:
    """Return a generous deadline."""
    return time.monotonic() + SOON


def is_waiting(permits: FairSemaphore, count: int) -> bool:
    """Return whether `count` threads wait."""
    return permits.usage()[1] == count


def test_acquire_waits_for_permit_until_deadline() -> None:
    """Permits are taken and returned; without one `acquire` waits until its deadline."""
    permits = FairSemaphore(2)
    permits.acquire(later())
    permits.acquire(later())
    with pytest.raises(DeadlineExceeded, match="all 2 connections"):
        permits.acquire(time.monotonic())
    assert permits.usage() == (2, 0)
    permits.release()
    permits.acquire(later())
    permits.release()
    permits.release()
    assert permits.usage() == (0, 0)


def test_permits_go_in_order_of_arrival() -> None:
    """A returned permit goes to the longest waiter, not to a thread that takes again at once."""
    permits = FairSemaphore(1)
    permits.acquire(later())
    served: list[int] = []

    def wait_and_leave(number: int) -> None:
        permits.acquire(later())
        served.append(number)
        permits.release()

    threads = []
    for number in range(5):
        thread = threading.Thread(target=wait_and_leave, args=(number,))
        threads.append(thread)
        thread.start()
        wait_until(partial(is_waiting, permits, number + 1), "another waits")
    permits.release()
    permits.acquire(later())
    assert served == [0, 1, 2, 3, 4]
    permits.release()
    for thread in threads:
        thread.join(SOON)
    assert permits.usage() == (0, 0)


def test_close_wakes_all_waiters() -> None:
    """Waiting threads and later ones raise ClientClosed."""
    permits = FairSemaphore(1)
    permits.acquire(later())
    errors: list[ClientClosed] = []

    def wait() -> None:
        try:
            permits.acquire(later())
        except ClientClosed as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(partial(is_waiting, permits, 3), "three wait")
    permits.close()
    for thread in threads:
        thread.join(SOON)
    assert len(errors) == 3
    with pytest.raises(ClientClosed):
        permits.acquire(later())
    permits.release()
    assert permits.usage() == (0, 0)


def test_limit_holds_with_many_threads() -> None:
    """The limit holds with many threads, even if some stop waiting."""
    permits = FairSemaphore(3)
    lock = threading.Lock()
    inside = most = late = 0

    def work() -> None:
        nonlocal inside, most, late
        for turn in range(200):
            try:
                permits.acquire(time.monotonic() + (SOON if turn % 3 else 0.0001))
            except DeadlineExceeded:
                late += 1
                continue
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1
            permits.release()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert 1 <= most <= 3
    assert permits.usage() == (0, 0)
