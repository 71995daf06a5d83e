"""Snapshots of a client's counters and of its endpoints' states."""

from typing import NamedTuple

from fibclient.connections.endpoint import Endpoint
from fibclient.prefix_cache import CacheStatistics

__all__ = ["CacheStatistics", "ClientStatistics", "EndpointStatistics", "endpoint_statistics"]


class EndpointStatistics(NamedTuple):
    """State and counters of one endpoint.

    Attributes:
        address: Address as configured, followed by the resolved one if that differs.
        state: `up`, or `down` until a probe succeeds.
        in_flight: Requests and probes in flight.
        succeeded: Requests that got a reply, error replies included.
        failed: Failed requests and probes.
        times_down: Number of times it was marked down.
        recoveries: Number of times it came back into use.
        last_error: Error of the latest failure; empty if there was none.
    """

    address: str
    state: str
    in_flight: int
    succeeded: int
    failed: int
    times_down: int
    recoveries: int
    last_error: str


def endpoint_statistics(endpoint: Endpoint) -> EndpointStatistics:
    """Return the statistics of an endpoint."""
    return EndpointStatistics(
        str(endpoint.target),
        endpoint.state.value,
        endpoint.in_flight,
        endpoint.succeeded,
        endpoint.failed,
        endpoint.times_down,
        endpoint.recoveries,
        endpoint.last_error,
    )


class ClientStatistics(NamedTuple):
    """Counters of a client.

    Attributes:
        in_use: Requests in flight; a hedged one counts once.
        waiting: Calls that wait for a connection now.
        connections_opened: Connections opened so far.
        retries: Requests retried so far.
        hedges: Requests also sent to a second server because the first was silent.
        cache: Counters of the prefix cache.
        endpoints: One entry for each endpoint.
    """

    in_use: int
    waiting: int
    connections_opened: int
    retries: int
    hedges: int
    cache: CacheStatistics
    endpoints: tuple[EndpointStatistics, ...]
