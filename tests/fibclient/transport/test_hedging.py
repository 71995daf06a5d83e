"""Cost of silent and dead servers while another one is healthy.

Timeouts that a call must not need are longer than the test waits for the call.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient import CallCancelled, Cancellation, DeadlineExceeded, FibClient, ServerUnreachable
from fibclient.connections.endpoint import Endpoint
from fibclient.transport.hedging import MAX_SECONDS, MIN_SECONDS, hedge_delay_seconds
from fibclient.transport.retry import RetryBudget
from tests.support.fake_server import (
    FakeServer,
    HangUp,
    Script,
    fake_server,
    full_backlog,
    in_turn,
    is_reset,
)
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"
"""The reply that `range(0, 1)` needs."""

LONG = 1.5 * DEADLINE_SECONDS

PATIENT: dict[str, Any] = {
    "cache_bytes": 0,
    "timeout_seconds": LONG,
    "connect_timeout_seconds": LONG,
    "idle_timeout_seconds": LONG,
}


@contextmanager
def asking(call: Callable[[], object]) -> Iterator["Future[Any]"]:
    """Run a call on its own thread."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(call)


@contextmanager
def two(
    first: Script, second: Script, **options: object
) -> Iterator[tuple[FakeServer, FakeServer, FibClient]]:
    """Run two fake servers, and a client whose first request goes to the first of them."""
    with fake_server(first) as one, fake_server(second) as other:
        addresses = f"{one.address},{other.address}"
        with FibClient(addresses, **{**PATIENT, **options}) as client:
            yield one, other, client


# Requests.


def test_request_to_silent_server_is_hedged() -> None:
    """The request is hedged, the silent server marked down, and its probe brings it back."""
    with two(in_turn(None, ZERO), in_turn(ZERO)) as (silent, _, client):
        with asking(lambda: client.range(0, 1)) as call:
            assert call.result(DEADLINE_SECONDS) == [0]
        statistics = client.stats()
        assert (statistics.hedges, statistics.retries, statistics.in_use) == (1, 0, 0)
        assert [endpoint.times_down for endpoint in statistics.endpoints] == [1, 0]
        assert "was silent when" in statistics.endpoints[0].last_error
        wait_until(lambda: client.stats().endpoints[0].state == "up", "it is back")
        wait_until(lambda: client.stats().endpoints[0].in_flight == 0, "its probe has ended")
        assert silent.connections == 2


@pytest.mark.parametrize("method", ["ping", "stream"])
def test_every_kind_of_request_is_hedged(method: str) -> None:
    """PING and the beginning of a stream are hedged as well."""
    replies = in_turn(b"+PONG\r\n" if method == "ping" else b'$3\r\n"0"\r\n')
    calls: dict[str, Callable[[FibClient], object]] = {
        "ping": lambda client: client.ping(),
        "stream": lambda client: list(client.stream(0, 1, "json")),
    }
    with (
        fake_server(in_turn(None), answers_pings=False) as silent,
        fake_server(replies) as other,
        FibClient(f"{silent.address},{other.address}", **PATIENT) as client,
        asking(lambda: calls[method](client)) as call,
    ):
        call.result(DEADLINE_SECONDS)
        assert client.stats().hedges == 1


def test_first_server_may_still_win() -> None:
    """If the first server replies after all, neither is marked down."""
    second_is_asked = threading.Event()

    def slow(words: list[bytes]) -> bytes:
        assert second_is_asked.wait(DEADLINE_SECONDS)
        return ZERO

    def silent(words: list[bytes]) -> None:
        second_is_asked.set()

    with (
        two(slow, silent) as (_, _, client),
        asking(lambda: client.range(0, 1)) as call,
    ):
        assert call.result(DEADLINE_SECONDS) == [0]
        statistics = client.stats()
        assert statistics.hedges == 1
        assert [endpoint.times_down for endpoint in statistics.endpoints] == [0, 0]
        assert [endpoint.in_flight for endpoint in statistics.endpoints] == [0, 0]


@pytest.mark.parametrize("who", ["first", "second"])
def test_reply_of_survivor_is_used(who: str) -> None:
    """If one server closes its connection, the reply of the other is used."""
    both_are_asked = threading.Barrier(2)
    is_set_aside = threading.Event()

    def dying(words: list[bytes]) -> bytes:
        both_are_asked.wait(DEADLINE_SECONDS)
        raise HangUp

    def slow(words: list[bytes]) -> bytes:
        both_are_asked.wait(DEADLINE_SECONDS)
        assert is_set_aside.wait(DEADLINE_SECONDS)
        return ZERO

    scripts = (dying, slow) if who == "first" else (slow, dying)
    with (
        two(*scripts, max_retries=1) as (_, _, client),
        asking(lambda: client.range(0, 1)) as call,
    ):
        wait_until(lambda: bool(client.stats().endpoints), "its name is resolved")
        number = 0 if who == "first" else 1
        wait_until(lambda: client.stats().endpoints[number].times_down == 1, "it is missed")
        is_set_aside.set()
        assert call.result(DEADLINE_SECONDS) == [0]
        assert (client.stats().hedges, client.stats().retries) == (1, 0)


def test_losing_connection_is_reset() -> None:
    """The connection that loses is reset."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        fake_server(in_turn(ZERO)) as other,
        FibClient(f"127.0.0.1:{listener.getsockname()[1]},{other.address}", **PATIENT) as client,
        asking(lambda: client.range(0, 1)) as call,
    ):
        peer, _ = listener.accept()
        assert call.result(DEADLINE_SECONDS) == [0]
        assert is_reset(peer)


@pytest.mark.parametrize("reason", ["expensive", "no budget", "no retries"])
def test_conditions_without_hedge(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expensive requests, an empty budget and `max_retries=0` prevent a hedge."""
    if reason == "no budget":
        monkeypatch.setattr(RetryBudget, "spend", lambda budget, now: False)
    pause = threading.Event()

    def slow(words: list[bytes]) -> bytes:
        pause.wait(2 * MAX_SECONDS)
        return b"-LIMIT no\r\n"

    n = 9_999_999 if reason == "expensive" else 0
    retries = 0 if reason == "no retries" else 8
    with two(slow, in_turn(ZERO), max_retries=retries) as (_, other, client):
        with asking(lambda: client.read(n, n + 1, "text")) as call:
            assert "LIMIT" in str(call.exception(DEADLINE_SECONDS))
        assert (client.stats().hedges, other.connections) == (0, 0)


def test_hedged_call_ends_at_deadline() -> None:
    """A call to two silent servers ends at its deadline."""
    with two(in_turn(None), in_turn(None), timeout_seconds=0.5) as (_, _, client):
        with asking(lambda: client.range(0, 1)) as call:
            assert isinstance(call.exception(DEADLINE_SECONDS), DeadlineExceeded)
        assert client.stats().hedges == 1
        assert [endpoint.in_flight for endpoint in client.stats().endpoints] == [0, 0]


def test_two_silent_servers_are_marked_down() -> None:
    """Two silent servers are both marked down after the idle timeout."""
    with two(in_turn(None), in_turn(None), idle_timeout_seconds=0.3, max_retries=1) as (
        _,
        _,
        client,
    ):
        with asking(lambda: client.range(0, 1)) as call:
            assert isinstance(call.exception(DEADLINE_SECONDS), ServerUnreachable)
        assert [bool(endpoint.times_down) for endpoint in client.stats().endpoints] == [True, True]


def test_cancelled_hedged_call_marks_no_server_down() -> None:
    """Both connections are closed, and neither server is marked down."""
    token = Cancellation()
    with two(in_turn(None), in_turn(None)) as (_, _, client):
        with asking(lambda: client.read(0, 1, "json", cancellation=token)) as call:
            wait_until(lambda: client.stats().hedges == 1, "both are asked")
            token.cancel()
            assert isinstance(call.exception(DEADLINE_SECONDS), CallCancelled)
        endpoints = client.stats().endpoints
        assert [(endpoint.failed, endpoint.in_flight) for endpoint in endpoints] == [
            (0, 0),
            (0, 0),
        ]


def test_stopped_server_costs_no_timeout(serve: Callable[..., RunningServer]) -> None:
    """A stopped process costs no call its timeout, and is used again once it continues."""
    servers = [serve(), serve()]
    addresses = ",".join(server.address for server in servers)
    with FibClient(addresses, **PATIENT) as client, asking(lambda: None):
        for n in range(4):
            client.number(n)
        servers[0].process.send_signal(signal.SIGSTOP)
        try:
            with asking(lambda: [client.number(n) for n in range(20)]) as call:
                assert call.result(DEADLINE_SECONDS)[19] == 4181
            assert client.stats().hedges == 1
        finally:
            servers[0].process.send_signal(signal.SIGCONT)
        wait_until(lambda: client.stats().endpoints[0].state == "up", "it is back")


@given(st.floats(0, 100), st.floats(0, 0.02))
def test_hedge_delay_is_bounded(usual: float, cost: float) -> None:
    """The delay before a hedge is 0.1 to 0.5 s for any latency."""
    assert MIN_SECONDS <= hedge_delay_seconds(usual, cost) <= MAX_SECONDS


def test_hedge_delay_follows_latency() -> None:
    """The delay is a multiple of the usual latency and the cost of the request."""
    assert hedge_delay_seconds(0.0, 0.0001) == pytest.approx(0.1)
    assert hedge_delay_seconds(0.05, 0.02) == pytest.approx(0.21)


def test_latency_of_endpoint_follows_requests() -> None:
    """The latency of an endpoint follows that of its requests."""
    pause = threading.Event()

    def slow(words: list[bytes]) -> bytes:
        pause.wait(0.01)
        return ZERO

    with two(slow, slow) as (_, _, client):
        found: list[Endpoint] = client._pool.endpoints()
        for _ in range(100):  # which of the two gets a request is random
            client.range(0, 1)
            if all(endpoint.latency_seconds for endpoint in found):
                break
        assert all(endpoint.latency_seconds >= 0.01 for endpoint in found)


# Connections.


def test_host_that_drops_packets_is_marked_down() -> None:
    """The client connects to another server, and the silent one is marked down."""
    with (
        full_backlog() as silent,
        fake_server(in_turn(ZERO)) as good,
        FibClient(f"{silent},{good.address}", max_retries=0, **PATIENT) as client,
        asking(lambda: [client.range(0, 1) for _ in range(20)]) as call,
    ):
        assert call.result(DEADLINE_SECONDS) == [[0]] * 20
        endpoints = client.stats().endpoints
        assert [endpoint.state for endpoint in endpoints] == ["down", "up"]
        assert "no connection within" in endpoints[0].last_error


def test_reply_while_connecting_to_second_server() -> None:
    """A reply of the first server is used while the client connects to the second."""
    with full_backlog() as silent:
        is_connecting = threading.Event()

        def slow(words: list[bytes]) -> bytes:
            assert is_connecting.wait(DEADLINE_SECONDS)
            return ZERO

        with (
            fake_server(slow) as good,
            FibClient(f"{good.address},{silent}", **PATIENT) as client,
            asking(lambda: client.range(0, 1)) as call,
        ):
            wait_until(lambda: bool(client.stats().endpoints), "its name is resolved")
            wait_until(lambda: bool(client.stats().endpoints[1].in_flight), "it connects")
            is_connecting.set()
            assert call.result(DEADLINE_SECONDS) == [0]
            assert client.stats().hedges == 0
            assert [endpoint.in_flight for endpoint in client.stats().endpoints] == [0, 0]


@contextmanager
def closed_ports(count: int) -> Iterator[list[str]]:
    """Hold ports that refuse connections and that no other process can take."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        yield [f"127.0.0.1:{sock.getsockname()[1]}" for sock in socks]


def probing_threads() -> list[threading.Thread]:
    """Return the threads that probe endpoints."""
    return [thread for thread in threading.enumerate() if thread.name == "fibclient-probe"]


@pytest.mark.parametrize("kind", ["closed port", "no such socket"])
def test_healthy_server_is_found_among_dead_ones(kind: str, tmp_path: Path) -> None:
    """One call finds the healthy server, without a retry and with one probing thread."""
    with (
        closed_ports(100) as ports,
        fake_server(in_turn(ZERO)) as good,
        ExitStack() as stack,
    ):
        paths = [f"unix:{tmp_path / str(number)}" for number in range(100)]
        dead = ports if kind == "closed port" else paths
        addresses = ",".join([*dead, good.address])
        client = stack.enter_context(FibClient(addresses, max_retries=0, **PATIENT))
        assert client.range(0, 1) == [0]
        statistics = client.stats()
        assert statistics.retries == 0
        assert sum(endpoint.state == "down" for endpoint in statistics.endpoints) == 100
        assert len(probing_threads()) == 1
    assert not probing_threads()


def test_healthy_server_is_found_among_silent_ones() -> None:
    """A healthy server is found among thirty silent ones, which are marked down."""
    with ExitStack() as stack:
        silent = [stack.enter_context(full_backlog()) for _ in range(30)]
        good = stack.enter_context(fake_server(in_turn(ZERO)))
        addresses = ",".join([*silent, good.address])
        client = stack.enter_context(FibClient(addresses, max_retries=0, **PATIENT))
        with asking(lambda: client.range(0, 1)) as call:
            assert call.result(DEADLINE_SECONDS) == [0]
        states = [endpoint.state for endpoint in client.stats().endpoints]
        assert states.count("down") >= 15
        assert states[-1] == "up"
        assert len(probing_threads()) == 1


def test_a_probe_is_not_delayed_by_silent_servers() -> None:
    """A server that comes back is detected while the probes of others wait for a reply."""
    with ExitStack() as stack:
        silent = [stack.enter_context(full_backlog()) for _ in range(5)]
        good = stack.enter_context(fake_server(in_turn(HangUp(), ZERO)))
        addresses = ",".join([*silent, good.address])
        client = stack.enter_context(FibClient(addresses, **PATIENT))
        with asking(lambda: client.range(0, 1)) as call:
            assert call.result(DEADLINE_SECONDS) == [0]
        assert client.stats().endpoints[-1].recoveries == 1


def test_error_names_five_servers() -> None:
    """If no server can be reached, the error names five and the number of others."""
    with (
        closed_ports(20) as dead,
        FibClient(",".join(dead), max_retries=0) as client,
        pytest.raises(ServerUnreachable, match=r"^(cannot connect [^;]*; ){5}and 15 more$"),
    ):
        client.ping()
