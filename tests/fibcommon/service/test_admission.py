"""Tests for fibcommon.service.admission."""

import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fibcommon.service import admission
from fibcommon.service.admission import (
    IdleConnections,
    ReadRate,
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
    """A low soft limit does not reduce the connections if the hard limit is high enough."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, descriptor_limit[1]))
    assert affordable_connections(500, 50, "max_clients") == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 550


def test_the_hard_limit_bounds_connections(
    descriptor_limit: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """The hard limit reduces the connections, with a warning in the log."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert affordable_connections(hard + 1000, 50, "max_clients") == hard - 50
    assert "max_clients lowered" in caplog.text
    assert affordable_connections(10 * hard, hard + 1, "max_clients") == hard // 4


class IdleConnection:
    """A connection with an idle time."""

    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since


def victims_of(clients: list[IdleConnection]) -> IdleConnections[IdleConnection]:
    """Return a finder of idle connections."""
    return IdleConnections(lambda: clients, lambda client: client.idle_since)


def test_the_longest_idle_gives_way_first() -> None:
    """Connections are returned once each, the longest idle first."""
    clients = [IdleConnection(since) for since in (5.0, 3.0, None, 9.0)]
    victims = victims_of(clients)
    order = []
    while (victim := victims.pop()) is not None:
        order.append(victim.idle_since)
        clients.remove(victim)
        victim.idle_since = None
    assert order == [3.0, 5.0, 9.0]


def test_connection_used_after_scan_stays() -> None:
    """A connection that was used after the scan is not returned."""
    clients = [IdleConnection(1.0), IdleConnection(2.0)]
    victims = victims_of(clients)
    first = victims.pop()
    assert first is clients[0]
    first.idle_since = None
    clients[1].idle_since = 7.0
    assert victims.pop() is clients[1]
    clients[1].idle_since = None
    assert victims.pop() is None


MIN_BATCH = 500 // admission.BATCH_SHARE


def test_one_scan_finds_many_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scan finds many idle connections."""
    clients = [IdleConnection(float(number)) for number in range(1_000)]
    looks = []

    def connections() -> list[IdleConnection]:
        looks.append(1)
        return clients

    victims = IdleConnections(connections, lambda client: client.idle_since)
    for _ in range(500):
        victim = victims.pop()
        assert victim is not None
        victim.idle_since = None
    assert len(looks) <= 500 / MIN_BATCH


def test_a_reader_is_slow_only_after_a_whole_window() -> None:
    """A reader is slow after a low rate over the window, not after a shorter pause."""
    pace = ReadRate(0.0, 0)
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
    """Sent bytes that the peer has not read are counted; read bytes are not."""
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
