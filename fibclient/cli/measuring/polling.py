"""Periodic readings of servers, and the rates between them.

Each reading is taken in its own thread: a server that does not reply does not delay the others. It
is polled again only after its reading has ended.
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
MIN_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a server.

    Attributes:
        server: The address of the server.
        seconds: The time between the last two readings; 0 if there are not two.
        reading: The last reading; None if the server is down.
        rates: The rates between the last two readings; None if there are not two.
        error: Why the server is down; None if it is up.
        history: The requests per second in each interval, oldest first; None while the server
            was down.
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
    """Yield the statuses of all servers, first at once, then after each interval.

    Args:
        session: The servers, their password and the time limit.
        interval_seconds: The time between two readings, > 0.
        wait: Waits for a number of seconds and returns whether to continue.
    """
    patience = min(session.timeout_seconds, max(MIN_PATIENCE_SECONDS, interval_seconds))
    pollers = [_Poller(session, server, patience) for server in session.servers]
    due = time.monotonic()
    while True:
        for poller in pollers:
            poller.begin()
        deadline = time.monotonic() + patience
        yield [poller.status(deadline) for poller in pollers]
        # After a slow round, do not catch up with shorter intervals.
        due = max(due + interval_seconds, time.monotonic())
        if not wait(due - time.monotonic()):
            return


class _Poller:
    """Takes the readings of one server."""

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
        """Start a reading, unless one is still under way."""
        if not self._thread.is_alive():
            self._outcome = ServerUnreachable(f"no reply from {self._server} yet")
            self._thread = threading.Thread(target=self._take_reading, daemon=True)
            self._thread.start()

    def status(self, deadline: float) -> Status:
        """Return the status of the server once its reading has ended.

        Args:
            deadline: The monotonic time after which the server is down.
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
            info = self._connection.information()
            at = time.monotonic()
            reading = Reading.of(info, self._connection.call("LATENCY", "HISTOGRAM"))
            if not reading.version:
                raise ServerMisbehaved(f"{self._server} is not a fibserver: INFO has no version")
        except FibError as error:
            self._outcome = error
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        else:
            self._outcome = at, reading
