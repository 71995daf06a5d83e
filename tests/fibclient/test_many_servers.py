"""A client of several servers, some of which die, hang or come back."""

import hashlib
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fibclient import EndpointStatistics, FibClient
from tests.support.expected import digest_of_first, fibonacci
from tests.support.fake_server import fake_server, in_turn
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

Serve = Callable[..., RunningServer]

CALLS_BETWEEN = 100
"""Calls that are answered while one of the servers is dead."""

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"


def endpoint(client: FibClient, address: str) -> EndpointStatistics:
    """Return the statistics of one of a client's endpoints."""
    [found] = [entry for entry in client.stats().endpoints if entry.address == address]
    return found


def all_are_up(client: FibClient) -> bool:
    """Return whether no server is marked down."""
    return all(entry.state == "up" for entry in client.stats().endpoints)


def succeeded(client: FibClient) -> int:
    """Return how many calls were answered."""
    return sum(entry.succeeded for entry in client.stats().endpoints)


def serve_on_paths(serve: Serve, folder: Path, count: int) -> list[RunningServer]:
    """Start servers on Unix sockets: a dead server's port could be taken by another process."""
    return [serve("--listen", f"unix:{folder / f'{number}.sock'}") for number in range(count)]


def ask_while_servers_die(serve: Serve, folder: Path, kills: int) -> int:
    """Kill one of three servers after the other while 16 threads call.

    Every result must be right.

    Returns:
        The number of calls made.
    """
    servers = serve_on_paths(serve, folder, 3)
    addresses = [server.address for server in servers]
    right = fibonacci(0, 1200)
    over = threading.Event()

    def request_slice(client: FibClient, seed: int) -> int:
        chance = random.Random(seed)
        calls = 0
        while not over.is_set():
            start = chance.randrange(1000)
            stop = start + chance.randrange(1, 200)
            assert client.range(start, stop) == right[start:stop]
            calls += 1
        return calls

    with (
        FibClient(",".join(addresses), timeout_seconds=DEADLINE_SECONDS, cache_bytes=0) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        asking = [threads.submit(request_slice, client, seed) for seed in range(16)]
        try:
            for turn in range(kills):
                victim = turn % 3
                servers[victim].stop(signal.SIGKILL)
                wait_until(
                    lambda address=addresses[victim]: endpoint(client, address).state != "up",  # type: ignore[misc]
                    "the dead server is marked down",
                )
                enough = succeeded(client) + CALLS_BETWEEN
                wait_until(
                    lambda enough=enough: succeeded(client) >= enough,  # type: ignore[misc]
                    "the others take the load meanwhile",
                )
                servers[victim] = serve("--listen", addresses[victim])
                wait_until(
                    lambda address=addresses[victim]: endpoint(client, address).state == "up",  # type: ignore[misc]
                    "the server is back in use",
                )
        finally:
            over.set()
        calls = sum(call.result() for call in asking)
        wait_until(lambda: all_are_up(client), "all are in use")
        statistics = client.stats()
    deaths = [len(range(victim, kills, 3)) for victim in range(3)]
    # On a busy machine a hedge may set a healthy server aside, for its silence.
    times_down = [entry.times_down for entry in statistics.endpoints]
    assert all(count >= minimum for count, minimum in zip(times_down, deaths, strict=True))
    assert sum(times_down) <= kills + statistics.hedges
    assert [entry.recoveries for entry in statistics.endpoints] == times_down
    assert all(entry.succeeded for entry in statistics.endpoints)
    assert sum(entry.succeeded for entry in statistics.endpoints) >= calls
    return calls


def test_dying_servers_lose_no_call(serve: Serve, tmp_path: Path) -> None:
    """No call fails or is wrong; the dead server is marked down, and later used again."""
    assert ask_while_servers_die(serve, tmp_path, 3) > 3 * CALLS_BETWEEN


@pytest.mark.soak
def test_thirty_deaths_lose_no_call(serve: Serve, tmp_path: Path) -> None:
    """The same with thirty deaths, and the number of calls printed."""
    calls = ask_while_servers_die(serve, tmp_path, 30)
    print(f"{calls} calls, all right")


def test_stream_resumes_after_server_is_killed(serve: Serve, tmp_path: Path) -> None:
    """A stream of 300 MB whose server is killed resumes on another at the next byte."""
    servers = serve_on_paths(serve, tmp_path, 2)
    count, digest, received, killed = 53_600, hashlib.sha256(), 0, None
    with FibClient(",".join(server.address for server in servers)) as client:
        size = client.size(0, count, "json")
        assert size > 300e6
        for piece in client.stream(0, count, "json"):
            digest.update(piece)
            received += len(piece)
            if killed is None and received > size / 2:
                [killed] = [
                    server for server in servers if endpoint(client, server.address).in_flight
                ]
                killed.stop(signal.SIGKILL)
        assert received == size
        assert digest.hexdigest() == digest_of_first(count)
        assert killed is not None
        assert endpoint(client, killed.address).state != "up"
        assert client.stats().retries >= 1


def test_silent_server_costs_one_timeout() -> None:
    """A server that accepts but never replies costs one idle timeout, not one per call."""
    with (
        fake_server(in_turn(None), answers_pings=False) as hole,
        fake_server(in_turn(ZERO)) as good,
        FibClient(
            f"{hole.address},{good.address}", idle_timeout_seconds=0.1, cache_bytes=0
        ) as client,
    ):
        for _ in range(50):
            assert client.range(0, 1) == [0]
        assert len(hole.requests) == 1
        assert len(good.requests) == 50
        assert endpoint(client, hole.address).state == "down"
        assert "nothing received" in endpoint(client, hole.address).last_error


def test_successful_probes_do_not_reset_failures() -> None:
    """A successful probe does not reset the failures, so the delays keep growing."""
    with (
        fake_server(in_turn(None, None, None, ZERO)) as hole,
        fake_server(in_turn(ZERO)) as good,
        FibClient(
            f"{hole.address},{good.address}", idle_timeout_seconds=0.1, cache_bytes=0
        ) as client,
    ):

        def failures() -> int:
            [found] = [
                entry for entry in client._pool.endpoints() if str(entry.target) == hole.address
            ]
            return found.failures

        for count in (1, 2, 3):
            wait_until(
                lambda: client.range(0, 1) == [0] and len(hole.requests) == count,  # noqa: B023
                "it is asked again",
            )
            assert failures() == count
            assert endpoint(client, hole.address).times_down == count
            wait_until(lambda: endpoint(client, hole.address).state == "up", "a probe is answered")
            assert failures() == count
        wait_until(lambda: client.range(0, 1) == [0] and not failures(), "it replies")


def test_load_is_shared(server: RunningServer, serve: Serve) -> None:
    """Requests go to idle servers in turn."""
    other = serve()
    addresses = f"{server.address},{other.address}"
    # No hedges, since any server may be slow on a busy machine.
    with FibClient(addresses, cache_bytes=0, max_retries=0) as client:
        for n in range(100):
            client.number(n)
        shares = [endpoint(client, server.address).succeeded for server in (server, other)]
    assert shares == [50, 50]


def test_call_waits_for_a_server_until_deadline(serve: Serve, tmp_path: Path) -> None:
    """A call without a server waits for one until its deadline."""
    address = f"unix:{tmp_path / 'socket'}"
    first = serve("--listen", address)
    with (
        FibClient(address, timeout_seconds=DEADLINE_SECONDS, max_retries=50) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        client.ping()
        first.stop(signal.SIGKILL)
        call = threads.submit(client.first, 5)
        wait_until(lambda: client.stats().endpoints[0].state != "up", "it is missed")
        serve("--listen", address)
        assert call.result() == [0, 1, 1, 2, 3]


def test_parts_from_several_servers(serve: Serve, tmp_path: Path) -> None:
    """A large slice is fetched from several servers, one of which dies meanwhile."""
    servers = serve_on_paths(serve, tmp_path, 2)
    count = 20_000
    with FibClient(",".join(server.address for server in servers), cache_bytes=0) as client:
        whole = client.read(0, count, "json", parts=4)
        assert hashlib.sha256(whole).hexdigest() == digest_of_first(count)
        assert all(entry.succeeded for entry in client.stats().endpoints)
        servers[0].stop(signal.SIGKILL)
        again = client.read(0, count, "json", parts=4)
        assert hashlib.sha256(again).hexdigest() == digest_of_first(count)
