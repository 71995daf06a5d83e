"""Endpoints of a client, their states, and the choice of the next one.

Each request goes to the endpoint with the fewest in flight, round-robin among equals. An endpoint
that fails is marked down: it gets no requests until it has replied to a probe. The delays between
probes grow with its failures, which only a successful request resets, so an endpoint that replies
to probes alone is tried ever less often.

This module does no I/O and reads no clock.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum

from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["Endpoint", "EndpointState", "Endpoints"]

LATENCY_WEIGHT = 0.1
"""Weight of the latest request in the moving average, which about ten requests determine."""


class EndpointState(Enum):
    """Whether an endpoint gets requests."""

    UP = "up"
    DOWN = "down"
    GONE = "gone"  # its name no longer resolves to it


@dataclass(slots=True, eq=False)
class Endpoint:
    """One resolved server address, with its state and counters.

    Attributes:
        target: The address.
        state: Whether it gets requests.
        in_flight: Requests and probes under way.
        turn: Sequence number of its latest request, counted over all endpoints.
        failures: Failures since its last successful request.
        succeeded: Requests that got a reply, refusals included.
        failed: Failed requests and probes.
        times_down: Number of times it was marked down.
        recoveries: Number of times it came back into use.
        last_error: Error of its latest failure.
        latency_seconds: Moving average over cheap requests; 0 while unknown.
    """

    target: ResolvedAddress
    state: EndpointState = EndpointState.UP
    in_flight: int = 0
    turn: int = 0
    failures: int = 0
    succeeded: int = 0
    failed: int = 0
    times_down: int = 0
    recoveries: int = 0
    last_error: str = ""
    latency_seconds: float = 0.0

    @property
    def is_up(self) -> bool:
        """Whether it gets requests."""
        return self.state is EndpointState.UP

    def mark_down(self, error: str) -> bool:
        """Count a failure and mark the endpoint down; return whether it was up."""
        self.failures += 1
        self.failed += 1
        self.last_error = error
        if not self.is_up:
            return False
        self.state = EndpointState.DOWN
        self.times_down += 1
        return True

    def record_latency(self, seconds: float) -> None:
        """Add a cheap request to the moving average.

        Args:
            seconds: Time until its first byte arrived, or until it was abandoned.
        """
        average = self.latency_seconds or seconds  # 0: this is the first
        self.latency_seconds = average + LATENCY_WEIGHT * (seconds - average)

    def recover(self) -> None:
        """Put the endpoint back into use after a successful probe."""
        if self.state is EndpointState.DOWN:
            self.state = EndpointState.UP
            self.recoveries += 1


class Endpoints:
    """The endpoints that the addresses of a client resolve to."""

    def __init__(self) -> None:
        self._by_target: dict[ResolvedAddress, Endpoint] = {}
        self._turn = 0

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._by_target.values())

    def update(self, address: Address, targets: list[ResolvedAddress]) -> list[Endpoint]:
        """Replace what an address resolves to.

        Returns:
            The endpoints that it no longer resolves to.
        """
        gone = [
            endpoint
            for endpoint in self
            if endpoint.target.address == address and endpoint.target not in targets
        ]
        for endpoint in gone:
            endpoint.state = EndpointState.GONE
            del self._by_target[endpoint.target]
        for target in targets:
            self._by_target.setdefault(target, Endpoint(target))
        return gone

    def __len__(self) -> int:
        return len(self._by_target)

    def choose(self, excluded: Set[Endpoint] = frozenset()) -> Endpoint | None:
        """Return the endpoint for the next request, or None if none is up.

        Among those with the fewest requests in flight, it is the least recently used.

        Args:
            excluded: Endpoints that must not be chosen.
        """
        up = [endpoint for endpoint in self if endpoint.state is EndpointState.UP]
        if excluded:
            up = [endpoint for endpoint in up if endpoint not in excluded]
        if len(up) == 1:
            return up[0]
        return min(up, key=lambda endpoint: (endpoint.in_flight, endpoint.turn), default=None)

    def count_request(self, endpoint: Endpoint) -> None:
        """Count the start of a request to an endpoint."""
        self._turn += 1
        endpoint.turn = self._turn
        endpoint.in_flight += 1
