"""What a client tells of itself: counts and states, copied at one moment."""

from dataclasses import dataclass

from fibclient.connections.endpoints import Endpoint
from fibclient.prefix_cache import CacheStatistics

__all__ = ["CacheStatistics", "ClientStatistics", "EndpointStatistics"]


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """How one server has been doing.

    Attributes:
        address: as it was given, and what it leads to if that is another.
        state: `up`, or `set aside` until a probe is answered.
        in_flight: requests and probes under way.
        succeeded: requests that were answered, be it by a refusal.
        failed: requests and probes.
        set_asides: how often it was set aside.
        recoveries: how often it came back.
        last_error: why it was last set aside; empty if it never was.
    """

    address: str
    state: str
    in_flight: int
    succeeded: int
    failed: int
    set_asides: int
    recoveries: int
    last_error: str

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointStatistics":
        """Return what an endpoint tells."""
        return cls(
            str(endpoint.target),
            endpoint.state.value,
            endpoint.in_flight,
            endpoint.succeeded,
            endpoint.failed,
            endpoint.set_asides,
            endpoint.recoveries,
            endpoint.last_error,
        )


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """What a client has done so far.

    Attributes:
        in_use: connections lent to calls now.
        waiting: calls that wait for a connection now.
        connections_opened: in all.
        retries: requests that were tried again.
        hedges: requests for which a second server was asked while the first was silent.
        cache: what the prefix cache has done.
        endpoints: one for each server that the addresses lead to.
    """

    in_use: int
    waiting: int
    connections_opened: int
    retries: int
    hedges: int
    cache: CacheStatistics
    endpoints: tuple[EndpointStatistics, ...]
