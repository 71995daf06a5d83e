"""Load balancing: the choice of the endpoint for the next request.

Each request goes to the endpoint with the fewest in flight, round-robin among equals. An endpoint
that fails is marked down: it gets no requests until it has replied to a probe. The delays between
probes grow with its failures, which only a successful request resets, so an endpoint that replies
to probes alone is tried ever less often.
"""

from collections.abc import Iterator, Set

from fibclient.connections.endpoint import Endpoint, EndpointState
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["Endpoints"]


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
