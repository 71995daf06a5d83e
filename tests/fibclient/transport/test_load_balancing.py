"""Choice of the next endpoint."""

import socket

from hypothesis import given
from hypothesis import strategies as st

from fibclient.connections.endpoint import Endpoint, EndpointState
from fibclient.transport.load_balancing import Endpoints
from fibcommon.addresses import Address, ResolvedAddress

ONE, OTHER = Address("one", 1), Address("other", 2)


def target(address: Address, host: str) -> ResolvedAddress:
    """Return a resolved address."""
    return ResolvedAddress(socket.AF_INET, (host, address.port), address)


def three() -> tuple[Endpoints, list[Endpoint]]:
    """Return three endpoints, two of one name and one of another."""
    endpoints = Endpoints()
    endpoints.update(ONE, [target(ONE, "10.0.0.1"), target(ONE, "10.0.0.2")])
    endpoints.update(OTHER, [target(OTHER, "10.0.0.3")])
    return endpoints, list(endpoints)


def test_idle_endpoints_take_turns() -> None:
    """Idle endpoints are chosen in turn."""
    endpoints, all_three = three()
    chosen = []
    for _ in range(6):
        endpoint = endpoints.choose()
        assert endpoint is not None
        assert endpoints.choose() is endpoint, "looking changes nothing"
        endpoints.count_request(endpoint)
        endpoint.in_flight -= 1
        chosen.append(endpoint)
    assert set(chosen[:3]) == set(all_three)
    assert chosen[3:] == chosen[:3]


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3), st.permutations([1, 2, 3]))
def test_endpoint_with_fewest_in_flight_is_chosen(in_flight: list[int], turns: list[int]) -> None:
    """The endpoint with the fewest requests in flight is chosen first."""
    endpoints, all_three = three()
    for endpoint, number, turn in zip(all_three, in_flight, turns, strict=True):
        endpoint.in_flight, endpoint.turn = number, turn
    chosen = endpoints.choose()
    assert chosen is not None
    assert chosen.in_flight == min(in_flight)


def test_endpoint_that_is_down_is_not_chosen() -> None:
    """Only endpoints that are up are chosen, or None."""
    endpoints, [first, second, third] = three()
    assert first.mark_down("broke")
    assert not first.mark_down("broke again"), "it was out of use already"
    assert third.mark_down("broke")
    assert endpoints.choose() is second
    second.in_flight = 9
    assert endpoints.choose() is second
    assert second.mark_down("broke")
    assert endpoints.choose() is None
    first.recover()
    assert endpoints.choose() is first
    assert (first.failures, first.times_down, first.recoveries) == (2, 1, 1)
    assert first.last_error == "broke again"


def test_update_replaces_endpoints_of_name() -> None:
    """After an update old endpoints are gone, new ones are up, the others keep their state."""
    endpoints, [first, second, third] = three()
    second.mark_down("broke")
    gone = endpoints.update(ONE, [target(ONE, "10.0.0.2"), target(ONE, "10.0.0.9")])
    assert gone == [first]
    assert first.state is EndpointState.GONE
    assert second in list(endpoints)
    assert not second.is_up
    assert third in list(endpoints)
    assert len(list(endpoints)) == 3
    first.recover()
    assert first.state is EndpointState.GONE, "a late probe changes nothing"
