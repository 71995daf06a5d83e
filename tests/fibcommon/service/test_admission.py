"""Tests for fibcommon.service.admission."""

import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fibcommon.service import admission
from fibcommon.service.admission import (
    IdleVictims,
    ReadingPace,
    affordable_connections,
    unacknowledged_bytes,
)


@pytest.fixture
def descriptor_limit() -> Iterator[tuple[int, int]]:
    """The limit of open files, restored afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised(descriptor_limit: tuple[int, int]) -> None:
    """A low soft limit costs no connections where the hard one has room."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, descriptor_limit[1]))
    assert affordable_connections(500, 50, "max_clients") == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 550


def test_the_hard_limit_bounds_connections(
    descriptor_limit: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the hard limit there are fewer connections, and the log says why."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert affordable_connections(hard + 1000, 50, "max_clients") == hard - 50
    assert "max_clients lowered" in caplog.text
    assert affordable_connections(10 * hard, hard + 1, "max_clients") == hard // 4


class Client:
    """A connection, as far as its idleness goes."""

    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since


def victims_of(clients: list[Client]) -> IdleVictims[Client]:
    """Return what finds victims among some clients."""
    return IdleVictims(lambda: clients, lambda client: client.idle_since)


def test_the_longest_idle_gives_way_first() -> None:
    """Victims come in the order of their idleness, and each once."""
    clients = [Client(since) for since in (5.0, 3.0, None, 9.0)]
    victims = victims_of(clients)
    order = []
    while (victim := victims.pop()) is not None:
        order.append(victim.idle_since)
        clients.remove(victim)
        victim.idle_since = None
    assert order == [3.0, 5.0, 9.0]


def test_who_was_used_meanwhile_stays() -> None:
    """A connection that has worked since the look at all is no victim of that look."""
    clients = [Client(1.0), Client(2.0)]
    victims = victims_of(clients)
    first = victims.pop()
    assert first is clients[0]
    first.idle_since = None
    clients[1].idle_since = 7.0
    assert victims.pop() is clients[1]
    clients[1].idle_since = None
    assert victims.pop() is None


MIN_BATCH = 500 // admission.BATCH_SHARE


def test_a_crowd_of_newcomers_pays_for_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at all connections finds many victims."""
    clients = [Client(float(number)) for number in range(1_000)]
    looks = []

    def connections() -> list[Client]:
        looks.append(1)
        return clients

    victims = IdleVictims(connections, lambda client: client.idle_since)
    for _ in range(500):
        victim = victims.pop()
        assert victim is not None
        victim.idle_since = None
    assert len(looks) <= 500 / MIN_BATCH


def test_a_reader_is_slow_only_after_a_whole_window() -> None:
    """A pause shorter than the window is no reason to be cut off; a trickle over it is."""
    pace = ReadingPace(0.0, 0)
    pace.sample(29.0, 100)
    assert not pace.is_slow
    pace.sample(30.0, 30 * 4096 - 1)
    assert pace.is_slow
    pace.sample(59.0, 10**9)
    assert pace.is_slow
    pace.sample(60.0, 10**9)
    assert not pace.is_slow


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_unacknowledged_bytes_are_those_in_the_kernel(family: socket.AddressFamily) -> None:
    """What was sent and not read by the peer is counted; what is gone is not."""
    if family == socket.AF_UNIX:
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    with ours, theirs:
        assert unacknowledged_bytes(ours) == 0
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        assert unacknowledged_bytes(ours) > 0
