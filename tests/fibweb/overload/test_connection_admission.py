"""Tests for the admission of connections."""

from collections.abc import Callable

from fibcommon.service.admission import NEWCOMER_SECONDS, WINDOW_SECONDS, ReadRate
from fibweb.overload.connection_admission import SURPLUS_CONNECTIONS, Admission, AdmissionDecision

NOW = 10.0


class PacedConnection:
    """A connection with an idle time and a pace."""

    def __init__(
        self,
        crowd: list["PacedConnection"],
        *,
        idle_since: float | None = None,
        was_served: bool = True,
        read_rate: int | None = None,
    ) -> None:
        self.idle_since = idle_since
        self.was_served = was_served
        self.read_rate: ReadRate | None = None
        if read_rate is not None:
            self.read_rate = ReadRate(0.0, 0)
            self.read_rate.sample(WINDOW_SECONDS, read_rate * int(WINDOW_SECONDS))
        self._crowd = crowd
        crowd.append(self)

    def close(self) -> None:
        """Remove the connection."""
        self.idle_since = None
        self._crowd.remove(self)


def admission_of(
    crowd: list[PacedConnection], max_clients: int, clock: Callable[[], float] = lambda: NOW
) -> Admission:
    """Return an admission policy for a list of connections."""
    return Admission(max_clients, crowd, clock)


def test_room_for_all() -> None:
    """Below the bound no connection is closed, however idle or slow."""
    crowd: list[PacedConnection] = []
    PacedConnection(crowd, idle_since=0.0)
    PacedConnection(crowd, read_rate=0)
    assert admission_of(crowd, 3).admit() is AdmissionDecision.SERVE
    assert len(crowd) == 2


def test_order_of_eviction() -> None:
    """The longest idle connection is closed first, then the slowest of the slow readers."""
    crowd: list[PacedConnection] = []
    busy = PacedConnection(crowd)
    slow, slower = PacedConnection(crowd, read_rate=4000), PacedConnection(crowd, read_rate=10)
    fast = PacedConnection(crowd, read_rate=5000)
    idle, long_idle = (
        PacedConnection(crowd, idle_since=5.0),
        PacedConnection(crowd, idle_since=1.0),
    )
    admission = admission_of(crowd, 6)
    for victim in (long_idle, idle, slower, slow):
        assert admission.admit() is AdmissionDecision.SERVE
        assert victim not in crowd
        PacedConnection(crowd)
    assert admission.admit() is AdmissionDecision.SERVE_ONCE
    assert {busy, fast} < set(crowd)
    assert admission.cut_off == {"idle": 2, "slow": 2, "memory": 0}


def test_the_silent_give_way_before_those_that_pause() -> None:
    """Connections that never sent a request are closed first, after they had time to send one."""
    crowd: list[PacedConnection] = []
    paused, silent = (
        PacedConnection(crowd, idle_since=NOW - 6),
        PacedConnection(crowd, idle_since=NOW - 1),
    )
    silent.was_served = False
    new = PacedConnection(crowd, idle_since=NOW, was_served=False)
    now = [NOW]
    admission = admission_of(crowd, 3, lambda: now[0])
    for victim in (silent, paused):
        assert admission.admit() is AdmissionDecision.SERVE
        assert victim not in crowd
        PacedConnection(crowd)
    assert admission.admit() is AdmissionDecision.WAIT
    now[0] += 1.5 * NEWCOMER_SECONDS
    assert admission.admit() is AdmissionDecision.SERVE  # the new one is still silent
    assert new not in crowd
    PacedConnection(crowd)
    assert admission.admit() is AdmissionDecision.SERVE_ONCE


def test_clients_that_pause_give_way_last() -> None:
    """A connection served just now is closed only after a wait, if no silent one is left."""
    crowd: list[PacedConnection] = []
    now = [NOW]
    served = PacedConnection(crowd, idle_since=NOW - 1)
    silent = PacedConnection(crowd, idle_since=NOW, was_served=False)
    admission = admission_of(crowd, 2, lambda: now[0])
    for _ in range(3):
        assert admission.admit() is AdmissionDecision.WAIT
    now[0] += 1.5 * NEWCOMER_SECONDS
    assert admission.admit() is AdmissionDecision.SERVE
    assert crowd == [served]
    assert silent.idle_since is None
    PacedConnection(crowd)
    assert admission.admit() is AdmissionDecision.WAIT
    now[0] += 1.5 * NEWCOMER_SECONDS
    assert admission.admit() is AdmissionDecision.SERVE
    assert served not in crowd


def test_surplus_connections_are_few() -> None:
    """A few surplus connections are served once, and further ones are refused."""
    crowd: list[PacedConnection] = []
    admission = admission_of(crowd, 2)
    verdicts = []
    for _ in range(SURPLUS_CONNECTIONS + 4):
        verdicts.append(admission.admit())
        if verdicts[-1] is not AdmissionDecision.REJECT:
            PacedConnection(crowd)
    assert verdicts[:2] == [AdmissionDecision.SERVE] * 2
    assert verdicts[2:-2] == [AdmissionDecision.SERVE_ONCE] * SURPLUS_CONNECTIONS
    assert verdicts[-2:] == [AdmissionDecision.REJECT] * 2
    assert admission.rejected == 2
