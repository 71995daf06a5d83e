"""Periodic samples of servers, and the rates between them.

The samples of all servers are taken at the same time, each in its own thread. A silent server
delays the others by one timeout at most, and is polled again only after its sample has ended.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fibclient.cli.main import CliSession
from fibclient.cli.measuring.server_sample import SampleRates, ServerSample, sample_rates
from fibclient.cli.measuring.unpooled import UnpooledConnection, connect
from fibclient.connections.other_services import DEFAULT_PORT_HINT
from fibclient.errors import FibError, ServerMisbehaved, ServerUnreachable
from fibcommon.addresses import Address

__all__ = ["ServerStatus", "poll"]

HISTORY_LENGTH = 120
MIN_STEP_TIMEOUT_SECONDS = 1.0
MAX_STEP_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The status of a server.

    Attributes:
        server: The address of the server.
        seconds: The time between the last two samples; 0 if there are not two.
        sample: The last sample; None if the server is down.
        rates: The rates between the last two samples; None if there are not two.
        error: Why the server is down; None if it is up.
        history: The rates in each interval, oldest first; None while the server was down.
    """

    server: Address
    seconds: float
    sample: ServerSample | None
    rates: SampleRates | None
    error: FibError | None
    history: tuple[SampleRates | None, ...]


def poll(
    session: CliSession, interval_seconds: float, wait: Callable[[float], bool]
) -> Iterator[list[ServerStatus]]:
    """Yield the statuses of all servers, first at once, then after each interval.

    Args:
        session: The servers, their password and the time limit.
        interval_seconds: The time between two samples, > 0.
        wait: Waits for a number of seconds and returns whether to continue.
    """
    # Meanwhile the view is not updated, and keys have no effect.
    patience = max(MIN_STEP_TIMEOUT_SECONDS, min(interval_seconds, MAX_STEP_TIMEOUT_SECONDS))
    patience = min(session.timeout_seconds, patience)
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
    """Takes the samples of one server."""

    def __init__(self, session: CliSession, server: Address, step_timeout_seconds: float) -> None:
        self._session = session
        self._server = server
        self._step_timeout = step_timeout_seconds
        self._connection: UnpooledConnection | None = None
        self._thread = threading.Thread()
        self._result: tuple[float, ServerSample] | FibError
        self._last: tuple[float, ServerSample] | None = None
        self._history: deque[SampleRates | None] = deque(maxlen=HISTORY_LENGTH)

    def begin(self) -> None:
        """Start a sample, unless one is still in progress."""
        if not self._thread.is_alive():
            self._result = ServerUnreachable(f"no reply from {self._server} yet")
            self._thread = threading.Thread(target=self._take_sample, daemon=True)
            self._thread.start()

    def status(self, deadline: float) -> ServerStatus:
        """Return the status of the server once its sample has ended.

        Args:
            deadline: The monotonic time after which the server counts as down.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        result = self._result
        if isinstance(result, FibError):
            self._last = None
            self._history.append(None)
            return ServerStatus(self._server, 0.0, None, None, result, tuple(self._history))
        at, sample = result
        seconds, rates = 0.0, None
        if self._last is not None:
            seconds = at - self._last[0]
            rates = sample_rates(self._last[1], sample, seconds)
            self._history.append(rates)
        self._last = result
        return ServerStatus(self._server, seconds, sample, rates, None, tuple(self._history))

    def _take_sample(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect(
                    self._server, self._session.password, self._step_timeout
                )
            info = self._connection.info()
            at = time.monotonic()
            sample = ServerSample.of(info, self._connection.call("LATENCY", "HISTOGRAM"))
            if not sample.version:
                raise ServerMisbehaved(
                    f"{self._server} is not a fibserver: INFO has no version; {DEFAULT_PORT_HINT}"
                )
        except FibError as error:
            self._result = error
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        else:
            self._result = at, sample
