"""Endpoint: one resolved server address, with its state and counters."""

from enum import Enum

from fibcommon.addresses import ResolvedAddress

__all__ = ["Endpoint", "EndpointState"]

LATENCY_WEIGHT = 0.1
"""Weight of the latest request in the moving average, which about ten requests determine."""


class EndpointState(Enum):
    """Whether an endpoint gets requests."""

    UP = "up"
    DOWN = "down"
    GONE = "gone"  # its name no longer resolves to it


class Endpoint:
    """One resolved server address, with its state and counters.

    Attributes:
        target: The address.
        state: Whether it gets requests.
        in_flight: Requests and probes in flight.
        turn: Sequence number of its latest request, counted over all endpoints.
        failures: Failures since its last successful request.
        succeeded: Requests that got a reply, error replies included.
        failed: Failed requests and probes.
        times_down: Number of times it was marked down.
        recoveries: Number of times it came back into use.
        last_error: Error of its latest failure.
        latency_seconds: Moving average over cheap requests; 0 while unknown.
    """

    __slots__ = (
        "failed",
        "failures",
        "in_flight",
        "last_error",
        "latency_seconds",
        "recoveries",
        "state",
        "succeeded",
        "target",
        "times_down",
        "turn",
    )

    def __init__(self, target: ResolvedAddress) -> None:
        """Create an endpoint that is up."""
        self.target = target
        self.state = EndpointState.UP
        self.in_flight = self.turn = 0
        self.failures = self.succeeded = self.failed = 0
        self.times_down = self.recoveries = 0
        self.last_error = ""
        self.latency_seconds = 0.0

    @property
    def is_up(self) -> bool:
        """Whether it gets requests."""
        return self.state is EndpointState.UP

    def snapshot(self) -> "Endpoint":
        """Return a copy, which does not change with the endpoint."""
        copy = Endpoint(self.target)
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy

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
