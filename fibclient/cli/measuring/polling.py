"""Watching servers: a reading of each at every interval, and what happened in between.

Each reading is taken on a thread of its own, so one server that does not answer keeps nobody
waiting, and is asked again when it has.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fibclient.cli.measuring.server_sample import Rates, Reading, rates_between
from fibclient.cli.measuring.unpooled import DirectConnection, connect
from fibclient.cli.session import Session
from fibclient.errors import FibError, ServerMisbehaved, ServerUnreachable
from fibcommon.addresses import Address

__all__ = ["Status", "watch"]

HISTORY_LENGTH = 120
LEAST_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Status:
    """How a server is.

    Attributes:
        server: which one.
        seconds: between its last two readings; 0 if there are no two.
        reading: the last; None if the server is down.
        rates: what happened between the two; None if there are no two.
        error: why it is down; None if it is up.
        history: its requests a second at each interval, the last one last; None while it was
            down.
    """

    server: Address
    seconds: float
    reading: Reading | None
    rates: Rates | None
    error: FibError | None
    history: tuple[float | None, ...]


def watch(
    session: Session, interval_seconds: float, wait: Callable[[float], bool]
) -> Iterator[list[Status]]:
    """Yield how all servers are, at once and then after each interval.

    Args:
        session: whom to watch.
        interval_seconds: > 0.
        wait: waits for so many seconds, and returns whether to go on.
    """
    patience = min(session.timeout_seconds, max(LEAST_PATIENCE_SECONDS, interval_seconds))
    watches = [_Watch(session, server, patience) for server in session.servers]
    due = time.monotonic()
    while True:
        for each in watches:
            each.begin()
        deadline = time.monotonic() + patience
        yield [each.status(deadline) for each in watches]
        # One that took longer does not make the next ones follow in haste.
        due = max(due + interval_seconds, time.monotonic())
        if not wait(due - time.monotonic()):
            return


class _Watch:
    """One server, watched."""

    def __init__(self, session: Session, server: Address, patience_seconds: float) -> None:
        self._session = session
        self._server = server
        self._patience = patience_seconds
        self._connection: DirectConnection | None = None
        self._thread = threading.Thread()
        self._outcome: tuple[float, Reading] | FibError
        self._last: tuple[float, Reading] | None = None
        self._history: deque[float | None] = deque(maxlen=HISTORY_LENGTH)

    def begin(self) -> None:
        """Begin to take a reading, unless one is still being taken."""
        if not self._thread.is_alive():
            self._outcome = ServerUnreachable(f"no answer from {self._server} yet")
            self._thread = threading.Thread(target=self._take_reading, daemon=True)
            self._thread.start()

    def status(self, deadline: float) -> Status:
        """Return how the server is, as soon as that is known.

        Args:
            deadline: monotonic; then it is down.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        outcome = self._outcome
        if isinstance(outcome, FibError):
            self._last = None
            self._history.append(None)
            return Status(self._server, 0.0, None, None, outcome, tuple(self._history))
        at, reading = outcome
        seconds, rates = 0.0, None
        if self._last is not None:
            seconds = at - self._last[0]
            rates = rates_between(self._last[1], reading, seconds)
            self._history.append(rates.requests_per_second)
        self._last = outcome
        return Status(self._server, seconds, reading, rates, None, tuple(self._history))

    def _take_reading(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._server, self._session.password, self._patience)
            information = self._connection.information()
            at = time.monotonic()
            reading = Reading.of(information, self._connection.call("LATENCY", "HISTOGRAM"))
            if not reading.version:
                raise ServerMisbehaved(f"{self._server} is no fibserver: INFO names no version")
        except FibError as error:
            self._outcome = error
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        else:
            self._outcome = at, reading
