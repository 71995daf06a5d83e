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


def is_waiting(places: FairSemaphore, count: int) -> bool:
    """Return whether `count` threads wait."""
    return places.load()[1] == count


def test_as_many_as_there_are() -> None:
    """Permits are taken and returned; without one `take` waits until its deadline."""
    places = FairSemaphore(2)
    places.take(later())
    places.take(later())
    with pytest.raises(DeadlineExceeded, match="all 2 connections"):
        places.take(time.monotonic())
    assert places.load() == (2, 0)
    places.leave()
    places.take(later())
    places.leave()
    places.leave()
    assert places.load() == (0, 0)


def test_in_the_order_of_arrival() -> None:
    """A returned permit goes to the longest waiter, not to a thread that takes again at once."""
    places = FairSemaphore(1)
    places.take(later())
    served: list[int] = []

    def wait_and_leave(number: int) -> None:
        places.take(later())
        served.append(number)
        places.leave()

    threads = []
    for number in range(5):
        thread = threading.Thread(target=wait_and_leave, args=(number,))
        threads.append(thread)
        thread.start()
        wait_until(partial(is_waiting, places, number + 1), "another waits")
    places.leave()
    places.take(later())
    assert served == [0, 1, 2, 3, 4]
    places.leave()
    for thread in threads:
        thread.join(SOON)
    assert places.load() == (0, 0)


def test_closing_wakes_all() -> None:
    """Waiting threads and later ones raise ClientClosed."""
    places = FairSemaphore(1)
    places.take(later())
    errors: list[ClientClosed] = []

    def wait() -> None:
        try:
            places.take(later())
        except ClientClosed as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(partial(is_waiting, places, 3), "three wait")
    places.close()
    for thread in threads:
        thread.join(SOON)
    assert len(errors) == 3
    with pytest.raises(ClientClosed):
        places.take(later())
    places.leave()
    assert places.load() == (0, 0)


def test_many_threads() -> None:
    """The limit holds with many threads, even if some stop waiting."""
    places = FairSemaphore(3)
    lock = threading.Lock()
    inside = most = late = 0

    def work() -> None:
        nonlocal inside, most, late
        for turn in range(200):
            try:
                places.take(time.monotonic() + (SOON if turn % 3 else 0.0001))
            except DeadlineExceeded:
                late += 1
                continue
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1
            places.leave()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert 1 <= most <= 3
    assert places.load() == (0, 0)
