"""The servers a client may ask: which one is next, and which are set aside.

Requests go to the endpoint with the fewest in flight, in turn among equals. One that fails is
set aside: no request goes there until a probe has been answered. The pauses between probes
grow with its failures, and those are forgotten only when a request has succeeded, so an
endpoint that answers probes and nothing else is tried ever less often.

This module decides; it connects to nobody and looks at no clock.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum

from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["Endpoint", "EndpointState", "Endpoints"]

LATENCY_WEIGHT = 0.1
"""Weight of the latest request in the moving average, which some ten requests decide."""


class EndpointState(Enum):
    """What an endpoint is used for."""

    UP = "up"
    SET_ASIDE = "set aside"
    GONE = "gone"  # its name leads elsewhere now


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server, and how it has been doing.

    Attributes:
        target: where it is.
        state: what it is used for.
        in_flight: requests and probes under way.
        turn: the number of its latest request, all endpoints counted together.
        failures: since the last request that succeeded.
        succeeded: requests that were answered, be it by a refusal, in all.
        failed: requests and probes, in all.
        set_asides: how often it was set aside.
        recoveries: how often it came back.
        last_error: why it was last set aside.
        latency_seconds: of cheap requests, a moving average; 0 while it is not known.
    """

    target: ResolvedAddress
    state: EndpointState = EndpointState.UP
    in_flight: int = 0
    turn: int = 0
    failures: int = 0
    succeeded: int = 0
    failed: int = 0
    set_asides: int = 0
    recoveries: int = 0
    last_error: str = ""
    latency_seconds: float = 0.0

    @property
    def is_up(self) -> bool:
        """Whether requests may go there."""
        return self.state is EndpointState.UP

    def set_aside(self, error: str) -> bool:
        """Note a failure; return whether this is what takes it out of use."""
        self.failures += 1
        self.failed += 1
        self.last_error = error
        if not self.is_up:
            return False
        self.state = EndpointState.SET_ASIDE
        self.set_asides += 1
        return True

    def note_latency(self, seconds: float) -> None:
        """Count how long a cheap request took until its first byte came, or was given up."""
        average = self.latency_seconds or seconds  # 0: this is the first
        self.latency_seconds = average + LATENCY_WEIGHT * (seconds - average)

    def recover(self) -> None:
        """Note that a probe was answered."""
        if self.state is EndpointState.SET_ASIDE:
            self.state = EndpointState.UP
            self.recoveries += 1


class Endpoints:
    """All endpoints, as the addresses lead to them."""

    def __init__(self) -> None:
        self._by_target: dict[ResolvedAddress, Endpoint] = {}
        self._turn = 0

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._by_target.values())

    def update(self, address: Address, targets: list[ResolvedAddress]) -> list[Endpoint]:
        """Take over where an address leads to now.

        Returns:
            the endpoints to which it led before, and does no more.
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

    def choose(self, besides: Set[Endpoint] = frozenset()) -> Endpoint | None:
        """Return the endpoint for the next request; None if all are set aside.

        Among equals it is the one whose latest request is the longest ago.

        Args:
            besides: those that it must not be.
        """
        up = [each for each in self._by_target.values() if each.state is EndpointState.UP]
        if besides:
            up = [each for each in up if each not in besides]
        if len(up) == 1:
            return up[0]
        return min(up, key=lambda endpoint: (endpoint.in_flight, endpoint.turn), default=None)

    def begin(self, endpoint: Endpoint) -> None:
        """Count a request to an endpoint."""
        self._turn += 1
        endpoint.turn = self._turn
        endpoint.in_flight += 1
