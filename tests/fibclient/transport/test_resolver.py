"""Resolution of host names, and connections that follow it."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fibclient import (
    CallCancelled,
    Cancellation,
    DeadlineExceeded,
    FibClient,
    ServerUnreachable,
)
from fibclient.transport.resolver import resolve, resolve_in_time
from fibcommon.addresses import Address, ResolvedAddress, parse_address
from tests.support.fake_server import FakeServer, fake_server, in_turn
from tests.support.waiting import wait_until

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"


def target_of(server: FakeServer, name: Address) -> ResolvedAddress:
    """Return what a name resolves to if it is that of a server."""
    address = parse_address(server.address)
    return ResolvedAddress(socket.AF_INET, (address.host, address.port), name)


def test_ip_address_resolves_to_itself() -> None:
    """An IP address resolves to itself, and so does a path."""
    address = Address("127.0.0.1", 80)
    assert resolve(address) == [ResolvedAddress(socket.AF_INET, ("127.0.0.1", 80), address)]
    address = Address(path="/run/x")
    assert resolve(address) == [ResolvedAddress(socket.AF_UNIX, "/run/x", address)]


def test_unknown_host_name_raises() -> None:
    """An unknown name raises an error with the name, from a client as well."""
    for host in ("nobody.invalid", "a..b", "x" * 64):
        with pytest.raises(ServerUnreachable, match=f"cannot resolve {re.escape(host)}:1"):
            resolve(Address(host, 1))
    with (
        FibClient("nobody.invalid:1", max_retries=1) as client,
        pytest.raises(ServerUnreachable, match=r"cannot resolve nobody\.invalid:1"),
    ):
        client.ping()


def test_all_addresses_of_a_name_are_used() -> None:
    """A name with two addresses gives two endpoints."""
    with fake_server(in_turn(ZERO)) as one, fake_server(in_turn(ZERO)) as two:

        def both(address: Address) -> list[ResolvedAddress]:
            return [target_of(one, address), target_of(two, address)]

        with FibClient("fib.example:1", resolve=both, cache_bytes=0) as client:
            for _ in range(10):
                client.range(0, 1)
        assert (len(one.requests), len(two.requests)) == (5, 5)


def test_dead_address_of_name_costs_no_error(unused_port: int) -> None:
    """If one address of a name refuses connections, there is neither an error nor a retry."""
    with fake_server(in_turn(ZERO)) as alive:

        def both(address: Address) -> list[ResolvedAddress]:
            dead = ResolvedAddress(socket.AF_INET, ("127.0.0.1", unused_port), address)
            return [dead, target_of(alive, address)]

        with FibClient("fib.example:1", resolve=both, cache_bytes=0) as client:
            for _ in range(10):
                assert client.range(0, 1) == [0]
            assert client.stats().retries == 0
            assert sum(endpoint.times_down for endpoint in client.stats().endpoints) == 1


def test_new_connections_follow_moved_name() -> None:
    """Connections expire, and new ones use the new address of the name."""
    with fake_server(in_turn(ZERO)) as old, fake_server(in_turn(ZERO)) as new:
        leads_to = [old]

        def current(address: Address) -> list[ResolvedAddress]:
            return [target_of(server, address) for server in leads_to]

        with FibClient(
            "fib.example:1", resolve=current, cache_bytes=0, max_connection_age_seconds=0.01
        ) as client:
            client.range(0, 1)
            leads_to[:] = [new]
            wait_until(
                lambda: client.range(0, 1) == [0] and bool(new.requests), "it asks the new one"
            )
            before = len(old.requests)
            for _ in range(5):
                client.range(0, 1)
            assert len(old.requests) == before
            assert len(client.stats().endpoints) == 1


def test_a_broken_connection_has_its_name_resolved_again() -> None:
    """After a connection breaks, its name is resolved again."""
    with fake_server(in_turn(ZERO)) as new:
        with fake_server(in_turn(ZERO)) as old:
            leads_to = [old]

            def current(address: Address) -> list[ResolvedAddress]:
                return [target_of(server, address) for server in leads_to]

            client = FibClient("fib.example:1", resolve=current, cache_bytes=0)
            client.range(0, 1)
            leads_to[:] = [new]
        with client:
            assert client.range(0, 1) == [0]
            assert new.requests


def test_previous_addresses_are_used_when_resolving_fails() -> None:
    """If resolving fails, the client uses the previous addresses."""
    with fake_server(in_turn(ZERO)) as server:
        is_broken = threading.Event()

        def flaky(address: Address) -> list[ResolvedAddress]:
            if is_broken.is_set():
                raise ServerUnreachable(f"cannot resolve {address}: try again")
            return [target_of(server, address)]

        with FibClient(
            "fib.example:1", resolve=flaky, cache_bytes=0, max_connection_age_seconds=0.001
        ) as client:
            client.range(0, 1)
            is_broken.set()
            for _ in range(20):
                assert client.range(0, 1) == [0]


def test_name_without_addresses_raises() -> None:
    """A name that resolves to nothing raises an error that reports it."""
    with (
        FibClient("fib.example:1", resolve=lambda address: [], max_retries=0) as client,
        pytest.raises(ServerUnreachable, match="resolve to nothing"),
    ):
        client.ping()


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """An event set at the end of the test; until then slow.example is not resolved."""
    event = threading.Event()
    yield event
    event.set()


def slow_resolver(
    stuck: threading.Event, server: FakeServer
) -> Callable[[Address], list[ResolvedAddress]]:
    """Return a resolver that resolves every name to a server, slow.example only late."""

    def resolve(address: Address) -> list[ResolvedAddress]:
        if address.host == "slow.example":
            stuck.wait()
        return [target_of(server, address)]

    return resolve


def test_slow_name_delays_no_other_server(stuck: threading.Event) -> None:
    """A slow name delays no call to other servers, even over a new connection."""
    with fake_server(in_turn(ZERO)) as server:
        resolver = slow_resolver(stuck, server)
        with FibClient(
            "slow.example:1,fast.example:1",
            resolve=resolver,
            cache_bytes=0,
            max_retries=0,
            max_connection_age_seconds=0.001,
        ) as client:
            for _ in range(3):
                assert client.range(0, 1) == [0]
        assert not stuck.is_set()


def test_call_with_silent_name_ends_at_deadline(stuck: threading.Event) -> None:
    """The call ends at its deadline, and a later one uses what was resolved meanwhile."""
    with (
        fake_server(in_turn(ZERO)) as server,
        FibClient(
            "slow.example:1", resolve=slow_resolver(stuck, server), timeout_seconds=0.2
        ) as client,
    ):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match=r"timed out resolving slow\.example:1"):
                client.range(0, 1)
        assert not stuck.is_set()
        stuck.set()
        wait_until(lambda: is_answered(client), "a reply")


def is_answered(client: FibClient) -> bool:
    """Return whether a call succeeds."""
    try:
        return client.range(0, 1) == [0]
    except ServerUnreachable:
        return False


def test_call_waits_for_names_after_dead_server(unused_port: int) -> None:
    """If all known servers have failed, a call waits for the names being resolved."""
    with fake_server(in_turn(ZERO)) as alive:

        def resolver(address: Address) -> list[ResolvedAddress]:
            if address.host != "slow.example":
                return [ResolvedAddress(socket.AF_INET, ("127.0.0.1", unused_port), address)]
            wait_until(lambda: client.stats().endpoints[0].state != "up", "the other has failed")
            return [target_of(alive, address)]

        with FibClient(
            f"127.0.0.1:{unused_port},slow.example:1", resolve=resolver, max_retries=0
        ) as client:
            assert client.range(0, 1) == [0]


def test_wait_for_resolver_is_cancelled(stuck: threading.Event) -> None:
    """A call that waits for the resolver can be cancelled."""
    is_asked = threading.Event()

    def resolver(address: Address) -> list[ResolvedAddress]:
        is_asked.set()
        stuck.wait()
        return []

    cancellation = Cancellation()
    with (
        FibClient("slow.example:1", resolve=resolver) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        call = threads.submit(client.read, 0, 1, "json", cancellation=cancellation)
        assert is_asked.wait(30)
        cancellation.cancel()
        with pytest.raises(CallCancelled):
            call.result(30)


def test_a_name_is_resolved_once_at_a_time(stuck: threading.Event) -> None:
    """Concurrent calls share one thread that resolves a name."""
    asked = []

    def resolver(address: Address) -> list[ResolvedAddress]:
        asked.append(address)
        stuck.wait()
        return []

    with FibClient("slow.example:1", resolve=resolver, timeout_seconds=0.01) as client:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                client.ping()
    assert len(asked) == 1


def test_calling_thread_resolves_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the calling thread resolves the name."""

    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with fake_server(in_turn(ZERO)) as server:
        resolver = slow_resolver(threading.Event(), server)
        with FibClient("fast.example:1", resolve=resolver) as client:
            monkeypatch.setattr(threading.Thread, "start", no_thread)
            client._pool._resolver.refresh(time.monotonic() + 30, lambda: False)
            monkeypatch.undo()
            assert [endpoint.address for endpoint in client.stats().endpoints] == [
                "fast.example:1 (127.0.0.1)"
            ]


def test_resolve_in_time_has_a_timeout(
    monkeypatch: pytest.MonkeyPatch, stuck: threading.Event
) -> None:
    """resolve_in_time returns the resolver's result, or raises after the timeout."""
    assert resolve_in_time(parse_address("127.0.0.1:1"), 30) == resolve(Address("127.0.0.1", 1))
    with pytest.raises(ServerUnreachable, match=r"cannot resolve a\.\.b:1"):
        resolve_in_time(Address("a..b", 1), 30)

    def silent(*_words: object, **_options: object) -> list[object]:
        stuck.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(DeadlineExceeded, match=r"timed out resolving slow\.example:1"):
        resolve_in_time(Address("slow.example", 1), 0.01)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Hold a port that refuses connections and that no other process can take."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])
