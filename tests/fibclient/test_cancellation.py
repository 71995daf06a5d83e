"""Cancellation of calls by another thread, and its effect on the server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from fibclient import CallCancelled, Cancellation, DeadlineExceeded, FibClient
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.prefix_cache import PrefixCache
from fibclient.transport.fair_semaphore import FairSemaphore
from tests.support.expected import expected
from tests.support.fake_server import fake_server, full_backlog, in_turn, is_reset
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"
"""The reply that `range(0, 1)` needs."""

CALLS: dict[str, Callable[[FibClient, Cancellation], object]] = {
    "read": lambda client, token: client.read(0, 9, "json", cancellation=token),
    "parts": lambda client, token: client.read(0, 9, "json", parts=2, cancellation=token),
    "stream": lambda client, token: list(client.stream(0, 9, "json", cancellation=token)),
}


@contextmanager
def calling(call: Callable[[], object]) -> Iterator["Future[object]"]:
    """Run a call on its own thread."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(call)


def is_cancelled(call: "Future[Any]") -> bool:
    """Wait for the end of a call; return whether it was cancelled."""
    return isinstance(call.exception(DEADLINE_SECONDS), CallCancelled)


@pytest.mark.parametrize("name", CALLS)
def test_cancelled_call_that_waits_for_bytes(name: str) -> None:
    """Each kind of call ends, is not retried, and leaves the server in use."""
    token = Cancellation()
    with fake_server(in_turn(None)) as server, FibClient(server.address, max_retries=3) as client:
        with calling(lambda: CALLS[name](client, token)) as call:
            assert server.was_asked.wait(DEADLINE_SECONDS)
            token.cancel()
            assert is_cancelled(call)
        assert len(server.requests) == 1
        statistics = client.stats()
        [endpoint] = statistics.endpoints
        assert (statistics.in_use, statistics.retries) == (0, 0)
        assert (endpoint.state, endpoint.failed, endpoint.in_flight) == ("up", 0, 0)


@pytest.mark.parametrize("name", CALLS)
def test_cancelled_token_ends_later_calls(name: str) -> None:
    """A cancelled token also ends later calls, before they send a request."""
    token = Cancellation()
    token.cancel()
    token.cancel()
    with fake_server(in_turn(ZERO)) as server, FibClient(server.address) as client:
        with pytest.raises(CallCancelled, match="was cancelled"):
            CALLS[name](client, token)
        assert server.connections == 0


def test_token_ends_all_its_calls() -> None:
    """All calls with the token end; others continue."""
    token = Cancellation()
    may_answer = threading.Event()

    def script(words: list[bytes]) -> bytes | None:
        if words[1] == b"0":
            return None
        assert may_answer.wait(DEADLINE_SECONDS)
        return b'$3\r\n"1"\r\n'

    with (
        fake_server(script) as server,
        FibClient(server.address, cache_bytes=0) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        calls = [
            threads.submit(client.read, 0, stop, "bfile", cancellation=token) for stop in (3, 4, 5)
        ]
        other = threads.submit(client.read, 1, 2, "json", cancellation=Cancellation())
        wait_until(lambda: len(server.requests) == 4, "all are in flight")
        token.cancel()
        for call in calls:
            assert is_cancelled(call)
        may_answer.set()
        assert other.result() == b'"1"'


def test_cancelled_call_that_waits_for_permit() -> None:
    """A call that waits for a permit ends; the next waiting call gets the permit."""
    token = Cancellation()
    permits = FairSemaphore(1)
    permits.acquire(later())
    with (
        calling(lambda: permits.acquire(later(), token)) as call,
        calling(lambda: permits.acquire(later())) as next_call,
    ):
        wait_until(lambda: permits.usage() == (1, 2), "both wait")
        token.cancel()
        assert is_cancelled(call)
        permits.release()
        assert next_call.result(DEADLINE_SECONDS) is None
    permits.release()
    assert permits.usage() == (0, 0)


def test_permit_granted_at_cancellation_is_passed_on() -> None:
    """A permit granted at the moment of the cancellation is passed on."""
    for _ in range(200):
        token, permits = Cancellation(), FairSemaphore(1)
        permits.acquire(later())
        with ThreadPoolExecutor(3) as threads:
            call = threads.submit(permits.acquire, later(), token)
            wait_until(lambda permits=permits: permits.usage() == (1, 1), "it waits")  # type: ignore[misc]
            threads.submit(token.cancel)
            threads.submit(permits.release)
            if not isinstance(call.exception(DEADLINE_SECONDS), CallCancelled):
                permits.release()
        assert permits.usage() == (0, 0)


def test_cancelled_call_between_retries() -> None:
    """A call ends during the delay before a retry, for a busy and for a dead server."""
    for script, answers_pings in [(in_turn(b"-BUSY later\r\n"), True), (in_turn(None), False)]:
        token = Cancellation()
        options: dict[str, Any] = {"max_retries": 10**6, "timeout_seconds": 3600}
        with (
            fake_server(script, answers_pings=answers_pings) as server,
            FibClient(server.address, idle_timeout_seconds=0.02, **options) as client,
            calling(lambda: client.read(0, 9, "json", cancellation=token)) as call,  # noqa: B023
        ):
            wait_until(lambda: client.stats().retries > 3, "it tries again and again")
            token.cancel()
            assert is_cancelled(call)


def test_cancelled_call_that_connects() -> None:
    """A call ends while it connects."""
    token = Cancellation()
    with (
        full_backlog() as address,
        FibClient(address, connect_timeout_seconds=3600, timeout_seconds=3600) as client,
        calling(lambda: client.read(0, 9, "json", cancellation=token)) as call,
    ):
        wait_until(lambda: bool(client.stats().endpoints), "its name is resolved")
        wait_until(lambda: bool(client.stats().endpoints[0].in_flight), "it connects")
        token.cancel()
        assert is_cancelled(call)
        assert client.stats().endpoints[0].state == "up"


def test_waiting_call_fetches_after_cancelled_fetch() -> None:
    """When a fetch is cancelled, a call that waits for it fetches instead."""
    token, other = Cancellation(), Cancellation()
    with (
        fake_server(in_turn(None, b"$4\r\n0\n1\n\r\n")) as server,
        FibClient(server.address) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(client.read, 0, 2, "text", cancellation=token)
        assert server.was_asked.wait(DEADLINE_SECONDS)
        second = threads.submit(client.read, 0, 2, "text", cancellation=other)
        wait_until(lambda: bool(other._notifications), "another waits")
        token.cancel()
        assert is_cancelled(first)
        assert second.result() == b"0\n1\n"


def test_cancelled_waiter_does_not_end_fetch() -> None:
    """Cancelling a call that waits for another's fetch does not end the fetch."""
    token, cache = Cancellation(), PrefixCache(10**6)
    fetching, may_go_on = threading.Event(), threading.Event()
    slice_ = EncodedSlice.of(0, 9, "json")

    def fetch(slice_: EncodedSlice) -> bytes:
        fetching.set()
        assert may_go_on.wait(DEADLINE_SECONDS)
        return expected("json", slice_.start, slice_.stop)

    with calling(lambda: cache.read(slice_, later(), fetch)) as first:
        assert fetching.wait(DEADLINE_SECONDS)
        with calling(lambda: cache.read(slice_, later(), fetch, token)) as second:
            wait_until(lambda: bool(token._notifications), "another waits")
            token.cancel()
            assert is_cancelled(second)
        may_go_on.set()
        assert first.result() == expected("json", 0, 9)


def test_late_cancellation_leaves_connection(server: RunningServer) -> None:
    """Cancelling a token after its call does not break the reused connection."""
    token = Cancellation()
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        assert client.read(0, 3, "json", cancellation=token) == expected("json", 0, 3)
        token.cancel()
        for _ in range(3):
            assert client.range(0, 3) == [0, 1, 1]
        assert client.stats().connections_opened == 1


def test_cancelled_stream_ends_at_next_chunk(server: RunningServer) -> None:
    """A stream ends at its next chunk, and its connection is not reused."""
    token = Cancellation()
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text", cancellation=token)
        next(stream)
        token.cancel()
        with pytest.raises(CallCancelled):
            for _ in stream:
                pass
        assert client.range(7, 9) == [13, 21]
        assert client.stats().connections_opened == 2


# Effects on the server.


@contextmanager
def listening() -> Iterator[tuple[str, socket.socket]]:
    """Open a listener that accepts no connection by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def test_an_abandoned_request_is_reset() -> None:
    """A call that times out or is cancelled resets its connection."""
    token = Cancellation()
    with listening() as (address, listener):
        with FibClient(address, timeout_seconds=0.2, idle_timeout_seconds=60) as client:
            with pytest.raises(DeadlineExceeded):
                client.read(0, 9, "json")
            assert is_reset(listener.accept()[0])
        with (
            FibClient(address) as client,
            calling(lambda: client.read(0, 9, "json", cancellation=token)) as call,
        ):
            peer, _ = listener.accept()
            assert peer.recv(1)
            token.cancel()
            assert is_cancelled(call)
            assert is_reset(peer)


def test_a_stream_that_is_closed_early_is_reset() -> None:
    """A stream that is closed early resets its connection."""
    with listening() as (address, listener), FibClient(address) as client:
        stream = client.stream(0, 9, "text")
        with calling(lambda: next(stream)) as call:
            peer, _ = listener.accept()
            assert peer.recv(1)
            peer.sendall(b"$%d\r\n0" % client.size(0, 9, "text"))
            call.result(DEADLINE_SECONDS)
        stream.close()
        assert is_reset(peer)


def test_an_idle_connection_is_not_reset() -> None:
    """A connection that owes no reply is closed without a reset."""
    with listening() as (address, listener):
        with FibClient(address) as client, calling(client.ping) as call:
            peer, _ = listener.accept()
            assert peer.recv(1)
            peer.sendall(b"+PONG\r\n")
            call.result(DEADLINE_SECONDS)
        assert not is_reset(peer)


def later() -> float:
    """Return a generous deadline."""
    return time.monotonic() + DEADLINE_SECONDS
