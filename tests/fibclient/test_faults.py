"""Faults that users of network clients suffer from most, as ranked in docs/client.md."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fibclient
from fibclient import (
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    FibClient,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from fibclient.connections.endpoint import Endpoint
from fibclient.transport.load_balancing import Endpoints
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.probing import Prober
from fibcommon.addresses import Address, ResolvedAddress
from tests.support.expected import expected, fibonacci
from tests.support.fake_server import FakeServer, HangUp, fake_server, full_backlog, in_turn
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"
"""The reply that `range(0, 1)` needs."""

ONE = b"$5\r\n\x01\x00\x00\x00\x01\r\n"
"""The reply that `range(1, 2)` and `range(2, 3)` need."""


def client_of(*servers: FakeServer, **options: float) -> FibClient:
    """Return a client without a cache, so that every call sends a request."""
    addresses = ",".join(server.address for server in servers)
    return FibClient(addresses, **{"cache_bytes": 0, **options})  # type: ignore[arg-type]


# A reply to one caller never reaches another.


def test_rest_of_abandoned_stream_is_discarded(server: RunningServer) -> None:
    """The rest of an abandoned stream is not taken for the reply to the next request."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        stream.close()
        assert client.range(7, 9) == [13, 21]
        assert client.stats().connections_opened == 2


def test_interrupted_call_closes_connection(server: RunningServer) -> None:
    """Ctrl-C between a request and its reply closes the connection; the next reply is right."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
        assert client.range(7, 9) == [13, 21]


def test_reply_after_deadline_is_discarded() -> None:
    """A reply that arrives after the deadline of its call is discarded."""
    is_late = threading.Event()

    def script(words: list[bytes]) -> bytes:
        if words[1] == b"1":
            assert is_late.wait(DEADLINE_SECONDS)
            return ONE
        return ZERO

    with fake_server(script) as server, client_of(server, max_connections=1) as client:
        with FibClient(server.address, timeout_seconds=0.2, cache_bytes=0) as hasty:
            with pytest.raises(ServerUnreachable):
                hasty.range(1, 2)
            is_late.set()
            assert hasty.range(0, 1) == [0]
        assert client.range(0, 1) == [0]


def test_exception_thrown_into_stream_discards_reply(server: RunningServer) -> None:
    """After an exception thrown into a stream, the rest of its reply is discarded."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        with pytest.raises(RequestRefused):
            stream.throw(RequestRefused("LIMIT not the server's"))
        assert client.range(7, 9) == [13, 21]
        assert client.stats().connections_opened == 2


def test_collected_streams_cause_no_deadlock(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that are collected while a lock of the client is held do not cause a deadlock."""
    choose = Endpoints.choose

    def collect_and_choose(endpoints: Endpoints, *excluded: Set[Endpoint]) -> Endpoint | None:
        gc.collect()
        return choose(endpoints, *excluded)

    class CollectingLine(deque[Any]):
        def __bool__(self) -> bool:
            gc.collect()
            return len(self) > 0

    def abandon_a_stream(client: FibClient) -> None:
        stream = client.stream(0, 3000, "text")
        next(stream)
        cycle: list[object] = [stream]
        cycle.append(cycle)

    gc.disable()
    try:
        with FibClient(server.address, timeout_seconds=DEADLINE_SECONDS, cache_bytes=0) as client:
            client._pool._permits._waiters = CollectingLine()
            monkeypatch.setattr(Endpoints, "choose", collect_and_choose)
            for _ in range(3):
                abandon_a_stream(client)
                assert client.range(7, 9) == [13, 21]
            monkeypatch.undo()
            for _ in range(3):
                abandon_a_stream(client)
                assert client.range(7, 9) == [13, 21]
            assert client.stats().in_use == 0
    finally:
        gc.enable()


def test_interrupted_fetch_leaves_cache_usable(server: RunningServer) -> None:
    """A prefix whose fetch was interrupted can be extended by the next call."""
    with FibClient(server.address, timeout_seconds=DEADLINE_SECONDS) as client:

        def interrupt(address: Address) -> list[ResolvedAddress]:
            raise KeyboardInterrupt

        with FibClient(server.address, resolve=interrupt) as interrupted:
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    interrupted.first(10)
            assert interrupted.stats().in_use == 0
        assert client.first(10) == fibonacci(0, 10)


# An idle connection that the server has closed causes no error.


def test_stale_connection_costs_no_retry() -> None:
    """A stale connection is detected before use, and costs no failed request and no retry."""
    with fake_server(in_turn(ZERO)) as server, client_of(server) as client:
        client.range(0, 1)
        server.hang_up()
        wait_until(lambda: _is_stale(client), "the end arrives")
        assert client.range(0, 1) == [0]
        statistics = client.stats()
        assert (statistics.connections_opened, statistics.retries) == (2, 0)
        assert statistics.endpoints[0].times_down == 0


def _is_stale(client: FibClient) -> bool:
    [[connection]] = client._pool._idle.values()
    return connection.is_stale(time.monotonic())


def test_request_on_closing_connection_is_repeated() -> None:
    """A request on an idle connection that closes just then is repeated at once on a new one."""
    with (
        fake_server(in_turn(ZERO, HangUp(), ONE)) as server,
        client_of(server, max_retries=0) as client,
    ):
        client.range(0, 1)
        assert client.range(1, 2) == [1]
        assert client.stats().endpoints[0].times_down == 0


# No call waits forever.


def test_silent_server_times_out() -> None:
    """The error for a silent server has its address and the timeout."""
    with (
        fake_server(in_turn(None), answers_pings=False) as server,
        client_of(server, idle_timeout_seconds=0.1, max_retries=1) as client,
        pytest.raises(ServerUnreachable, match=r"nothing received from 127.* for 0\.1 s"),
    ):
        client.number(0)


@pytest.mark.parametrize("method", ["first", "ping", "info", "read"])
def test_every_call_has_a_deadline(method: str) -> None:
    """Each kind of call ends at its deadline."""
    arguments = {"first": (1,), "read": (0, 1, "json")}.get(method, ())
    with (
        fake_server(in_turn(None), answers_pings=False) as server,
        client_of(server, timeout_seconds=0.2, idle_timeout_seconds=60) as client,
        pytest.raises(DeadlineExceeded),
    ):
        getattr(client, method)(*arguments)


SIGNALS = """
import signal, sys
from fibclient import FibClient, ServerUnreachable

signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
with FibClient(sys.argv[1], timeout_seconds=0.3, cache_bytes=0) as client:
    try:
        client.number(0)
    except ServerUnreachable:
        print("too late")
"""


def test_signals_do_not_prolong_a_call() -> None:
    """Frequent signals do not prolong a call, whether it connects or waits for a reply."""
    with fake_server(in_turn(None), answers_pings=False) as silent, full_backlog() as full:
        for address in (silent.address, full):
            done = subprocess.run(
                [sys.executable, "-c", SIGNALS, address],
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
                check=False,
            )
            assert (done.stdout, done.stderr) == ("too late\n", "")


# The deadline applies to the whole call.


def test_slow_bytes_do_not_prolong_a_call() -> None:
    """Bytes that keep arriving too slowly do not prolong a call beyond its deadline."""
    size = len(expected("text", 0, 1000))
    over = threading.Event()

    def drip() -> Iterator[bytes]:
        yield b"$%d\r\n" % size
        while not over.wait(0.02):
            yield b"0"

    with (
        fake_server(lambda words: drip()) as server,
        client_of(server, timeout_seconds=0.3, idle_timeout_seconds=60) as client,
    ):
        with pytest.raises(DeadlineExceeded, match="deadline exceeded"):
            client.read(0, 1000, "text")
        over.set()


def test_retries_end_with_the_deadline() -> None:
    """Retries and the delays between them are within the timeout of the call."""
    with (
        fake_server(in_turn(b"-BUSY later\r\n")) as server,
        client_of(server, timeout_seconds=0.3, max_retries=10**6) as client,
        pytest.raises(RequestRefused, match="BUSY"),
    ):
        client.number(0)


def test_waiting_for_a_connection_ends_with_the_deadline() -> None:
    """A call that waits for a connection ends at its deadline."""
    with (
        fake_server(in_turn(None)) as server,
        client_of(server, max_connections=1, timeout_seconds=0.5) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        holding = threads.submit(client.number, 0)
        assert server.was_asked.wait(DEADLINE_SECONDS)
        with pytest.raises(DeadlineExceeded):
            client.number(0)
        with pytest.raises(DeadlineExceeded):
            holding.result()


# More callers than connections.


def test_calls_wait_for_a_connection(server: RunningServer) -> None:
    """Calls wait for a connection instead of failing, and the limit holds."""
    with (
        FibClient(server.address, max_connections=3, cache_bytes=0) as client,
        ThreadPoolExecutor(24) as threads,
    ):
        results = list(threads.map(lambda n: client.range(n, n + 20), range(500)))
        assert results == [fibonacci(n, n + 20) for n in range(500)]
        statistics = client.stats()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
        assert statistics.connections_opened == 3


def test_the_last_used_connection_is_the_next(server: RunningServer) -> None:
    """A single caller reuses the same connection, even if many are idle."""
    with FibClient(server.address, cache_bytes=0) as client:
        streams = [client.stream(0, 5000, "text") for _ in range(4)]
        for stream in streams:
            next(stream)
        for stream in streams:
            for _ in stream:
                pass
        connections = client._pool._idle[client._pool._endpoints.choose()]  # type: ignore[index]
        last = connections[-1]
        client.range(0, 5)
        assert connections[-1] is last
        assert len(connections) == 4


# Retries do not amplify an outage.


def test_retries_have_a_budget() -> None:
    """However many calls fail, the budget limits the requests that are retries."""
    calls = 150
    with (
        fake_server(in_turn(b"-BUSY later\r\n")) as server,
        client_of(server, max_retries=20, timeout_seconds=1) as client,
        ThreadPoolExecutor(50) as threads,
    ):
        errors = [error for error in threads.map(lambda n: _error(client), range(calls)) if error]
        assert len(errors) == calls
        retries = client.stats().retries
        assert len(server.requests) == calls + retries
        # 100 at first, then 10 a second: without a budget there would be about 900.
        assert retries < 300


def _error(client: FibClient) -> FibError | None:
    try:
        client.number(0)
    except FibError as error:
        return error
    return None


@pytest.mark.parametrize("error", [b"-BUSY later\r\n", b"-NOSPACE full\r\n"])
def test_busy_is_retried_on_same_connection(error: bytes) -> None:
    """A temporary error reply is retried on the same connection."""
    with fake_server(in_turn(error, error, ZERO)) as server, client_of(server) as client:
        assert client.range(0, 1) == [0]
        assert client.stats().retries == 2
        assert server.connections == 1


@pytest.mark.parametrize("error", [b"-LIMIT too large\r\n", b"-ERR no\r\n", b"-NOAUTH no\r\n"])
def test_permanent_error_is_not_retried(error: bytes) -> None:
    """A permanent error reply is not retried."""
    with fake_server(in_turn(error)) as server, client_of(server) as client:
        with pytest.raises(RequestRefused) as caught:
            client.range(0, 1)
        assert caught.value.code == error[1:].split()[0].decode()
        assert len(server.requests) == 1


def test_shutdown_moves_requests_to_another_server() -> None:
    """After SHUTDOWN the request and later ones go to another server."""
    with (
        fake_server(in_turn(b"-SHUTDOWN stopping\r\n"), answers_pings=False) as stopping,
        fake_server(in_turn(ZERO)) as other,
        client_of(stopping, other) as client,
    ):
        for _ in range(6):
            assert client.range(0, 1) == [0]
        assert len(stopping.requests) == 1


def test_server_that_replies_busy_to_probes_stays_down() -> None:
    """A server that is down and replies BUSY to probes gets no requests until it replies PONG."""
    is_well = threading.Event()

    def ailing(words: list[bytes]) -> bytes | None:
        if words == [b"PING"]:
            return b"+PONG\r\n" if is_well.is_set() else b"-BUSY no worker has come back\r\n"
        return ZERO if is_well.is_set() else None

    with (
        fake_server(ailing, answers_pings=False) as server,
        fake_server(in_turn(ZERO)) as other,
        client_of(server, other, idle_timeout_seconds=0.1) as client,
    ):

        def is_probed_again() -> bool:
            return client.range(0, 1) == [0] and server.pings >= 3

        wait_until(is_probed_again, "it is probed again and again")
        assert len(server.requests) == 1
        is_well.set()
        wait_until(
            lambda: client.range(0, 1) == [0] and len(server.requests) > 1, "it is asked again"
        )


def test_slow_reader_loses_only_its_connection(serve: Callable[..., RunningServer]) -> None:
    """A slow reader loses its own connection; the server stays in use."""
    server = serve(FIBSERVER_REQUEST_TIMEOUT="0.5")
    with FibClient(server.address, cache_bytes=0) as client:
        stream = client.stream(0, 20_000, "text")
        size = len(next(stream))
        wait_until(lambda: server.info()["connected_clients"] == "1", "it is closed")
        pause = threading.Event()
        pause.wait(1.1)  # longer than SLOW_READER_SECONDS
        size += sum(map(len, stream))
        assert size == client.size(0, 20_000, "text")
        assert client.stats().endpoints[0].times_down == 0


def test_request_is_the_probe_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the next request serves as the probe."""
    with fake_server(in_turn(HangUp(), ZERO)) as server, client_of(server) as client:
        start = threading.Thread.start

        def fail(thread: threading.Thread) -> None:
            if thread.name == "fibclient-probe":
                raise RuntimeError("can't start new thread")
            start(thread)

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            assert client.range(0, 1) == [0]
        assert client.stats().endpoints[0].state == "up"


def test_request_is_the_probe_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the probing thread fails, the next request serves as the probe."""

    def fail(prober: Prober, probes: object) -> None:
        raise MemoryError

    with (
        fake_server(in_turn(HangUp(), HangUp(), ZERO)) as server,
        client_of(server, max_retries=50) as client,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(Prober, "_wait", fail)
            assert client.range(0, 1) == [0]
        assert client.stats().endpoints[0].recoveries == 2


def test_probes_end_with_collected_client() -> None:
    """Probes end when their client is collected without being closed."""
    client = FibClient("127.0.0.1:1", max_retries=0)
    with pytest.raises(ServerUnreachable):
        client.ping()
    probe = client._pool._prober.thread
    assert probe is not None
    del client
    gc.collect()
    probe.join(DEADLINE_SECONDS)
    assert not probe.is_alive()


# Invalid replies.


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"$3\r\nabcd\r\n",
        b":5\r\n",
        b"$4\r\n\x00\x00\x00\x00!!",
        b"+" + b"x" * 100_000,
    ],
)
def test_connection_with_invalid_reply_is_not_reused(reply: bytes) -> None:
    """An invalid reply raises ServerMisbehaved, and its connection is not reused."""
    with fake_server(in_turn(reply, ZERO)) as server, client_of(server) as client:
        with pytest.raises(ServerMisbehaved):
            client.range(0, 1)
        assert client.range(0, 1) == [0]
        assert client.stats().endpoints[0].times_down == 1


def test_server_with_invalid_reply_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an invalid reply the same server is not retried, even if a probe has succeeded."""
    discard = ConnectionPool.discard

    def discard_and_recover(pool: ConnectionPool, connection: Any, error: BaseException) -> None:
        discard(pool, connection, error)
        connection.endpoint.recover()

    monkeypatch.setattr(ConnectionPool, "discard", discard_and_recover)
    with fake_server(in_turn(b":5\r\n", ZERO)) as server, client_of(server) as client:
        with pytest.raises(ServerMisbehaved):
            client.range(0, 1)
        assert client.range(0, 1) == [0]


def test_excess_bytes_are_no_reply() -> None:
    """Excess bytes after a reply are not taken for the next one, even if they are valid."""
    with (
        fake_server(in_turn(ONE + ONE, ONE)) as server,
        client_of(server, max_connections=1) as client,
    ):
        assert client.range(1, 2) == [1]
        assert client.range(2, 3) == [1]
        assert len(server.requests) == 2
        assert server.connections == 2


@pytest.mark.parametrize(
    "payload",
    [b"\x05\x00\x00\x00ab", b"\x01\x00", b"\x00\x00\x00\x00\x00\x00", b"\xff" * 6],
)
def test_invalid_contents_raise(payload: bytes) -> None:
    """A slice of the right size with invalid contents raises ServerMisbehaved."""
    reply = b"$%d\r\n%b\r\n" % (5, payload[:5].ljust(5, b"\x07"))
    with (
        fake_server(in_turn(reply)) as server,
        client_of(server) as client,
        pytest.raises(ServerMisbehaved),
    ):
        client.range(1, 2)


@pytest.mark.parametrize("cut", range(len(ZERO)))
def test_reply_cut_short_is_retried(cut: int) -> None:
    """A reply that is cut short at any byte is retried successfully."""
    with (
        fake_server(in_turn(HangUp(ZERO[:cut]), ZERO)) as server,
        client_of(server) as client,
    ):
        assert client.range(0, 1) == [0]
        assert len(server.requests) == 2


def test_replies_that_are_always_cut_short_raise() -> None:
    """If every reply is cut short, the error reports it and the number of attempts."""
    with (
        fake_server(in_turn(HangUp(ZERO[:6]))) as server,
        client_of(server, max_retries=2) as client,
        pytest.raises(ServerUnreachable, match=r"closed by the server \(tried 3 times\)"),
    ):
        client.range(0, 1)


def test_invalid_reply_is_retried_on_another_server() -> None:
    """Among several servers, one with invalid replies costs only a retry."""
    with (
        fake_server(in_turn(b"HTTP/1.1 200 OK\r\n\r\n"), answers_pings=False) as bad,
        fake_server(in_turn(ZERO)) as good,
        client_of(bad, good) as client,
    ):
        for _ in range(6):
            assert client.range(0, 1) == [0]
        assert len(bad.requests) == 1


# What is expected of every library.


def test_errors_are_one_family() -> None:
    """All errors of calls are FibErrors; of the main kinds only DeadlineExceeded is a subkind."""
    kinds = [ClientClosed, DeadlineExceeded, RequestRefused, ServerMisbehaved, ServerUnreachable]
    for kind in [*kinds, ConnectionLost]:
        assert issubclass(kind, FibError)
    for kind in kinds:
        others = [other for other in kinds if other is not kind and issubclass(kind, other)]
        assert others == ([ServerUnreachable] if kind is DeadlineExceeded else [])


def test_package_is_typed() -> None:
    """Type checkers find the types of the package."""
    assert (Path(fibclient.__file__).parent / "py.typed").exists()


def test_submitted_call_can_be_awaited(server: RunningServer) -> None:
    """A submitted call can be awaited."""

    async def request_slice(client: FibClient) -> list[list[int]]:
        calls = [asyncio.wrap_future(client.submit("range", n, n + 3)) for n in range(20)]
        return [await call for call in calls]

    with FibClient(server.address) as client:
        assert asyncio.run(request_slice(client)) == [fibonacci(n, n + 3) for n in range(20)]
