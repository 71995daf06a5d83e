"""States and latency of an endpoint."""

import socket

import pytest

from fibclient.connections.endpoint import Endpoint
from fibcommon.addresses import Address, ResolvedAddress


@pytest.fixture
def endpoint() -> Endpoint:
    """Return an endpoint that has had no request."""
    return Endpoint(ResolvedAddress(socket.AF_INET, ("10.0.0.1", 1), Address("one", 1)))


def test_recovering_twice_counts_once(endpoint: Endpoint) -> None:
    """Only an endpoint that is down can recover."""
    endpoint.recover()
    assert endpoint.recoveries == 0
    endpoint.mark_down("broke")
    endpoint.recover()
    endpoint.recover()
    assert endpoint.recoveries == 1


def test_latency_is_a_moving_average(endpoint: Endpoint) -> None:
    """The first request sets the latency; some dozens of others replace it."""
    endpoint.record_latency(0.05)
    assert endpoint.latency_seconds == 0.05
    for _ in range(50):
        endpoint.record_latency(0.1)
    assert endpoint.latency_seconds == pytest.approx(0.1, rel=0.01)
