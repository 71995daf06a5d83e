"""What hurts users of such libraries most, and cannot happen here.

Ranked in docs/client.md, with a test for each.
"""

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
from fibclient.connections.endpoints import Endpoint, Endpoints
from fibclient.transport.pool import ConnectionPool
from fibclient.transport.probing import Prober
from fibcommon.addresses import Address, ResolvedAddress
from tests.fibclient.fakes import FakeServer, HangUp, fake_server, full_backlog, in_turn
from tests.numbers import expected, fibonacci
from tests.servers import RunningServer
from tests.waiting import DEADLINE_SECONDS, wait_until

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"
"""The reply that `range(0, 1)` needs."""

ONE = b"$5\r\n\x01\x00\x00\x00\x01\r\n"
"""That of `range(1, 2)` and `range(2, 3)`."""


def client_of(*servers: FakeServer, **options: float) -> FibClient:
    """Return a client without cache, so that every call makes a request."""
    addresses = ",".join(server.address for server in servers)
    return FibClient(addresses, **{"cache_bytes": 0, **options})  # type: ignore[arg-type]


# A reply to one caller never reaches another.


def test_a_stream_that_nobody_reads_on(server: RunningServer) -> None:
    """What is left of an abandoned answer is not taken for the reply to the next request."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        stream.close()
        assert client.range(7, 9) == [13, 21]
        assert client.stats().connections_opened == 2


def test_an_interrupted_call(server: RunningServer) -> None:
    """Ctrl-C between a request and its reply costs the connection, and not the next answer."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
        assert client.range(7, 9) == [13, 21]


def test_a_call_whose_time_was_over() -> None:
    """A reply that comes after its caller has given up reaches nobody."""
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


def test_a_refusal_thrown_into_a_stream(server: RunningServer) -> None:
    """Whatever the reader of a stream throws into it, the rest of the answer reaches nobody."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        stream = client.stream(0, 5000, "text")
        next(stream)
        with pytest.raises(RequestRefused):
            stream.throw(RequestRefused("LIMIT not the server's"))
        assert client.range(7, 9) == [13, 21]
        assert client.stats().connections_opened == 2


def test_streams_that_the_garbage_collector_ends(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run at any allocation, also under a lock of the client, and nobody hangs."""
    choose = Endpoints.choose

    def collect_and_choose(endpoints: Endpoints, *besides: Set[Endpoint]) -> Endpoint | None:
        gc.collect()
        return choose(endpoints, *besides)

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
            client._pool._places._line = CollectingLine()
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


def test_an_interrupted_growth_of_the_cache(server: RunningServer) -> None:
    """A prefix whose fetch was interrupted grows for the next who asks."""
    with FibClient(server.address, timeout_seconds=DEADLINE_SECONDS) as client:

        def interrupt(address: Address) -> list[ResolvedAddress]:
            raise KeyboardInterrupt

        with FibClient(server.address, resolve=interrupt) as interrupted:
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    interrupted.first(10)
            assert interrupted.stats().in_use == 0
        assert client.first(10) == fibonacci(0, 10)


# A connection that the server has closed meanwhile is no error.


def test_a_stale_connection() -> None:
    """It is found out before it is used, and costs no failed request and no retry."""
    with fake_server(in_turn(ZERO)) as server, client_of(server) as client:
        client.range(0, 1)
        server.hang_up()
        wait_until(lambda: _is_stale(client), "the end arrives")
        assert client.range(0, 1) == [0]
        statistics = client.stats()
        assert (statistics.connections_opened, statistics.retries) == (2, 0)
        assert statistics.endpoints[0].set_asides == 0


def _is_stale(client: FibClient) -> bool:
    [[connection]] = client._pool._idle.values()
    return connection.is_stale(time.monotonic())


def test_a_connection_closed_as_it_is_used() -> None:
    """A request on an old connection that ends just then is said again on a new one, at once."""
    with (
        fake_server(in_turn(ZERO, HangUp(), ONE)) as server,
        client_of(server, max_retries=0) as client,
    ):
        client.range(0, 1)
        assert client.range(1, 2) == [1]
        assert client.stats().endpoints[0].set_asides == 0


# Nothing waits for ever.


def test_a_server_that_accepts_and_never_answers() -> None:
    """Silence ends with an error that says who was silent, for how long."""
    with (
        fake_server(in_turn(None), answers_pings=False) as server,
        client_of(server, idle_timeout_seconds=0.1, max_retries=1) as client,
        pytest.raises(ServerUnreachable, match=r"nothing received from 127.* for 0\.1 s"),
    ):
        client.number(0)


@pytest.mark.parametrize("method", ["first", "ping", "info", "read"])
def test_every_call_has_a_deadline(method: str) -> None:
    """Each kind of call gives up in time."""
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


def test_signals_do_not_put_off_the_end_of_a_call() -> None:
    """A program that gets signals all the time waits no longer, connected or not."""
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


# The deadline is for the whole call.


def test_a_server_that_drips() -> None:
    """Bytes that keep coming, too slowly, do not put off the end of a call."""
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
    """Trying again, and the pauses between, are within the time of the call."""
    with (
        fake_server(in_turn(b"-BUSY later\r\n")) as server,
        client_of(server, timeout_seconds=0.3, max_retries=10**6) as client,
        pytest.raises(RequestRefused, match="BUSY"),
    ):
        client.number(0)


def test_waiting_for_a_connection_ends_with_the_deadline() -> None:
    """Who waits in line gives up in time."""
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


# Many callers, few connections.


def test_more_callers_than_connections(server: RunningServer) -> None:
    """Callers wait for a connection instead of failing, and there are never more than allowed."""
    with (
        FibClient(server.address, max_connections=3, cache_bytes=0) as client,
        ThreadPoolExecutor(24) as threads,
    ):
        answers = list(threads.map(lambda n: client.range(n, n + 20), range(500)))
        assert answers == [fibonacci(n, n + 20) for n in range(500)]
        statistics = client.stats()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
        assert statistics.connections_opened == 3


def test_the_last_used_connection_is_the_next(server: RunningServer) -> None:
    """A caller that is alone uses one connection, however many there once were."""
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


# An outage is not multiplied.


def test_retries_have_a_budget() -> None:
    """However many calls fail, the server gets only so many requests more than calls."""
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
        # 100 at first, and 10 a second while it lasts: without a budget there would be about 900.
        assert retries < 300


def _error(client: FibClient) -> FibError | None:
    try:
        client.number(0)
    except FibError as error:
        return error
    return None


@pytest.mark.parametrize("refusal", [b"-BUSY later\r\n", b"-NOSPACE full\r\n"])
def test_a_server_that_is_busy(refusal: bytes) -> None:
    """What may pass is tried again, on the same connection."""
    with fake_server(in_turn(refusal, refusal, ZERO)) as server, client_of(server) as client:
        assert client.range(0, 1) == [0]
        assert client.stats().retries == 2
        assert server.connections == 1


@pytest.mark.parametrize("refusal", [b"-LIMIT too large\r\n", b"-ERR no\r\n", b"-NOAUTH no\r\n"])
def test_a_refusal_for_good(refusal: bytes) -> None:
    """What will be refused again is not asked again."""
    with fake_server(in_turn(refusal)) as server, client_of(server) as client:
        with pytest.raises(RequestRefused) as caught:
            client.range(0, 1)
        assert caught.value.code == refusal[1:].split()[0].decode()
        assert len(server.requests) == 1


def test_a_server_that_is_stopping() -> None:
    """SHUTDOWN sends the request elsewhere, and later ones too."""
    with (
        fake_server(in_turn(b"-SHUTDOWN stopping\r\n"), answers_pings=False) as stopping,
        fake_server(in_turn(ZERO)) as other,
        client_of(stopping, other) as client,
    ):
        for _ in range(6):
            assert client.range(0, 1) == [0]
        assert len(stopping.requests) == 1


def test_a_server_whose_workers_hang() -> None:
    """One that was set aside and answers probes with BUSY is not asked until it says PONG."""
    is_well = threading.Event()

    def ailing(words: list[bytes]) -> bytes | None:
        if words == [b"PING"]:
            return b"+PONG\r\n" if is_well.is_set() else b"-BUSY no worker has come back\r\n"
        return ZERO if is_well.is_set() else None

    with (
        fake_server(ailing, answers_pings=False) as server,
        fake_server(in_turn(ZERO)) as other,
        client_of(server, other, idle_timeout_seconds=0.05) as client,
    ):

        def is_probed_again() -> bool:
            return client.range(0, 1) == [0] and server.pings >= 3

        wait_until(is_probed_again, "it is probed again and again")
        assert len(server.requests) == 1
        is_well.set()
        wait_until(
            lambda: client.range(0, 1) == [0] and len(server.requests) > 1, "it is asked again"
        )


def test_a_server_that_closes_on_a_slow_reader(serve: Callable[..., RunningServer]) -> None:
    """A reader that takes its time costs its own connection; the server stays in use."""
    server = serve(FIBSERVER_REQUEST_TIMEOUT="0.5")
    with FibClient(server.address, cache_bytes=0) as client:
        stream = client.stream(0, 20_000, "text")
        size = len(next(stream))
        wait_until(lambda: server.information()["connected_clients"] == "1", "it is closed")
        pause = threading.Event()
        pause.wait(1.1)  # by now the reader is a slow one
        size += sum(map(len, stream))
        assert size == client.size(0, 20_000, "text")
        assert client.stats().endpoints[0].set_asides == 0


def test_no_thread_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the next request is the probe."""
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


def test_no_memory_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread that probes breaks off, the next request is the probe."""

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


def test_a_client_that_nobody_closed() -> None:
    """The probes of a client that was dropped come to their end."""
    client = FibClient("127.0.0.1:1", max_retries=0)
    with pytest.raises(ServerUnreachable):
        client.ping()
    probe = client._pool._prober.thread
    assert probe is not None
    del client
    gc.collect()
    probe.join(DEADLINE_SECONDS)
    assert not probe.is_alive()


# Peers that make no sense.


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
def test_rubbish(reply: bytes) -> None:
    """A reply that makes no sense raises ServerMisbehaved, and its connection is not reused."""
    with fake_server(in_turn(reply, ZERO)) as server, client_of(server) as client:
        with pytest.raises(ServerMisbehaved):
            client.range(0, 1)
        assert client.range(0, 1) == [0]
        assert client.stats().endpoints[0].set_asides == 1


def test_rubbish_from_one_that_a_probe_brings_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that makes no sense is no other server, however fast a probe finds it alive."""
    discard = ConnectionPool.discard

    def discard_and_recover(pool: ConnectionPool, connection: Any, error: BaseException) -> None:
        discard(pool, connection, error)
        connection.endpoint.recover()

    monkeypatch.setattr(ConnectionPool, "discard", discard_and_recover)
    with fake_server(in_turn(b":5\r\n", ZERO)) as server, client_of(server) as client:
        with pytest.raises(ServerMisbehaved):
            client.range(0, 1)
        assert client.range(0, 1) == [0]


def test_a_reply_too_many() -> None:
    """What comes behind a reply is not taken for the next one, however well it fits."""
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
def test_bytes_that_are_no_numbers(payload: bytes) -> None:
    """An answer of the right size that holds something else raises ServerMisbehaved."""
    reply = b"$%d\r\n%b\r\n" % (5, payload[:5].ljust(5, b"\x07"))
    with (
        fake_server(in_turn(reply)) as server,
        client_of(server) as client,
        pytest.raises(ServerMisbehaved),
    ):
        client.range(1, 2)


@pytest.mark.parametrize("cut", range(len(ZERO)))
def test_a_reply_cut_short(cut: int) -> None:
    """A server that closes within a reply, wherever, is asked again, and the answer is right."""
    with (
        fake_server(in_turn(HangUp(ZERO[:cut]), ZERO)) as server,
        client_of(server) as client,
    ):
        assert client.range(0, 1) == [0]
        assert len(server.requests) == 2


def test_a_reply_cut_short_for_good() -> None:
    """A server that always closes within a reply is an error that says so."""
    with (
        fake_server(in_turn(HangUp(ZERO[:6]))) as server,
        client_of(server, max_retries=2) as client,
        pytest.raises(ServerUnreachable, match=r"closed by the server \(tried 3 times\)"),
    ):
        client.range(0, 1)


def test_rubbish_from_one_of_two() -> None:
    """With several servers, one that makes no sense costs nothing but a retry."""
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
    """Whatever a call raises of its own is a FibError, and what the caller can do differs."""
    kinds = [ClientClosed, DeadlineExceeded, RequestRefused, ServerMisbehaved, ServerUnreachable]
    for kind in [*kinds, ConnectionLost]:
        assert issubclass(kind, FibError)
    for kind in kinds:
        others = [other for other in kinds if other is not kind and issubclass(kind, other)]
        assert others == ([ServerUnreachable] if kind is DeadlineExceeded else [])


def test_it_is_typed() -> None:
    """Type checkers find the types of the package."""
    assert (Path(fibclient.__file__).parent / "py.typed").exists()


def test_from_asyncio(server: RunningServer) -> None:
    """A submitted call can be awaited."""

    async def ask(client: FibClient) -> list[list[int]]:
        calls = [asyncio.wrap_future(client.submit("range", n, n + 3)) for n in range(20)]
        return [await call for call in calls]

    with FibClient(server.address) as client:
        assert asyncio.run(ask(client)) == [fibonacci(n, n + 3) for n in range(20)]
