"""The client with real fibservers, and with misbehaving peers."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fibclient import (
    ClientClosed,
    FibClient,
    Limits,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from tests.support.expected import expected, fibonacci
from tests.support.fake_server import fake_server, in_turn
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until


def test_numbers_are_ints(server: RunningServer) -> None:
    """first, range and number return Python ints."""
    want = fibonacci(0, 300)
    with FibClient(server.address) as client:
        assert client.first(300) == want
        assert client.first(0) == []
        assert client.range(100, 110) == want[100:110]
        assert client.number(299) == want[299]


@pytest.mark.parametrize("format", ["json", "text", "csv", "ndjson", "bfile", "binary"])
def test_read_returns_bytes_of_slice(server: RunningServer, format: str) -> None:
    """read returns the bytes of a slice in any format."""
    with FibClient(server.address) as client:
        for start, stop in [(0, 0), (0, 1), (0, 1000), (7, 7), (990, 1010), (3000, 3500)]:
            assert client.read(start, stop, format) == expected(format, start, stop)


def test_client_uses_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """A server may listen on a Unix socket, and removes its file at exit."""
    path = tmp_path / "socket"
    server = serve("--listen", f"unix:{path}")
    with FibClient(f"unix:{path}") as client:
        assert client.first(5) == [0, 1, 1, 2, 3]
    assert server.stop() == 0
    assert not path.exists()


def test_error_reply_leaves_connection_usable(server: RunningServer) -> None:
    """An error reply raises RequestRefused with its code; the connection is reused."""
    with FibClient(server.address, max_connections=1) as client:
        with pytest.raises(RequestRefused, match="max_index is 10000000") as caught:
            client.read(0, 10**9, "json")
        assert caught.value.code == "LIMIT"
        assert client.first(3) == [0, 1, 1]


def test_unreachable_server_raises_with_address() -> None:
    """A server that cannot be reached raises ServerUnreachable with its address."""
    with (
        FibClient("127.0.0.1:1", max_retries=2) as client,
        pytest.raises(
            ServerUnreachable, match=r"cannot connect to 127\.0\.0\.1:1: Connection refused"
        ),
    ):
        client.ping()


def test_a_server_restarted_between_calls(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """A pooled connection that the server has closed is detected and replaced."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop()
    first = serve("--listen", address)
    with FibClient(address) as client:
        assert client.first(3) == [0, 1, 1]
        first.stop()
        serve("--listen", address)
        assert client.first(3) == [0, 1, 1]


def test_closed_client_raises(server: RunningServer) -> None:
    """A closed client raises ClientClosed, and may be closed again."""
    client = FibClient(server.address)
    client.ping()
    client.close()
    client.close()
    with pytest.raises(ClientClosed, match="closed"):
        client.ping()
    with pytest.raises(ClientClosed, match="closed"):
        client.submit("ping")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_connections", 0),
        ("max_retries", -1),
        ("cache_bytes", -1),
        ("timeout_seconds", 0),
        ("timeout_seconds", float("nan")),
        ("connect_timeout_seconds", -1),
        ("idle_timeout_seconds", 0),
        ("max_connection_age_seconds", 0),
        ("timeout_seconds", float("inf")),
        ("idle_timeout_seconds", 1e12),
    ],
)
def test_option_out_of_range_raises(option: str, value: float) -> None:
    """An option out of range raises a ValueError with its name and value."""
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        FibClient(**{option: value})  # type: ignore[arg-type]


def test_password_is_sent_on_each_connection(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """The password is sent on each connection; a wrong or missing one raises RequestRefused."""
    (tmp_path / "password").write_text("open sesame\n")
    server = serve(FIBSERVER_PASSWORD_FILE=str(tmp_path / "password"))
    with FibClient(server.address, password="open sesame") as client:
        assert client.first(3) == [0, 1, 1]
    with FibClient(server.address, password="wrong") as client:
        with pytest.raises(RequestRefused, match=r"WRONGPASS.*\n.*password_file"):
            client.first(3)
        assert client.stats().endpoints[0].state == "up"
    with (
        FibClient(server.address) as client,
        pytest.raises(RequestRefused, match=r"NOAUTH.*\n.*password="),
    ):
        client.first(3)


def test_limits_are_ints(server: RunningServer) -> None:
    """limits returns the server's limits as ints."""
    with FibClient(server.address) as client:
        assert client.limits() == Limits(max_index=10_000_000, max_answer_bytes=2**31)


def test_server_without_limits_raises() -> None:
    """A server without these settings raises ServerMisbehaved."""
    with (
        fake_server(in_turn(b"*0\r\n")) as server,
        FibClient(server.address, max_retries=0) as client,
        pytest.raises(ServerMisbehaved, match="CONFIG GET"),
    ):
        client.limits()


def test_size_needs_no_server() -> None:
    """size needs no server."""
    with FibClient("127.0.0.1:1") as client:
        assert client.size(0, 1000, "csv") == len(expected("csv", 0, 1000))


# Streams.


@pytest.mark.parametrize("format", ["json", "text", "csv", "ndjson", "bfile", "binary"])
def test_stream_yields_any_byte_range(server: RunningServer, format: str) -> None:
    """A stream yields any byte range of a slice, cached or not."""
    want = expected(format, 3000, 5000)
    size = len(want)
    runs = [(0, size), (1, size), (0, 1), (size - 1, size), (7, 7), (999, 600_000)]
    for cache_bytes in (0, 10**9):
        with FibClient(server.address, cache_bytes=cache_bytes) as client:
            client.read(0, 4000, format)
            for begin, end in runs:
                pieces = client.stream(3000, 5000, format, begin=begin, end=end)
                assert b"".join(map(bytes, pieces)) == want[begin:end]


def test_stream_reuses_one_buffer(server: RunningServer) -> None:
    """A stream reuses one small buffer."""
    with FibClient(server.address, cache_bytes=0) as client:
        pieces = [len(piece) for piece in client.stream(0, 10_000, "json")]
        assert sum(pieces) == client.size(0, 10_000, "json")
        assert max(pieces) <= 256 * 1024


@pytest.mark.parametrize(("begin", "end"), [(-1, 5), (5, 4), (0, 22)])
def test_byte_range_outside_slice_raises(begin: int, end: int) -> None:
    """A byte range outside the slice raises ValueError at once."""
    with FibClient("127.0.0.1:1") as client:
        assert client.size(0, 9, "json") == 37
        with pytest.raises(ValueError, match="must hold"):
            client.stream(0, 4, "json", begin=begin, end=end)


# The queue, and slices fetched in parts.


def test_submit_returns_future(server: RunningServer) -> None:
    """submit returns a future with what the method returns."""
    with FibClient(server.address) as client:
        assert client.submit("first", 5).result() == [0, 1, 1, 2, 3]
        assert client.submit("range", 5, 7).result() == [5, 8]
        assert client.submit("number", 100).result() == 354224848179261915075
        assert client.submit("read", 0, 3, "csv").result() == b"0,0\n1,1\n2,1\n"
        assert client.submit("ping").result() is None


def test_submit_of_unknown_method_raises(server: RunningServer) -> None:
    """An unknown method raises at once; errors of the call are set on the future."""
    with FibClient(server.address) as client:
        with pytest.raises(ValueError, match="'close': must be one of first, range"):
            client.submit("close")
        assert isinstance(client.submit("first", 10**9).exception(), RequestRefused)
        assert isinstance(client.submit("first", -1).exception(), ValueError)


def test_map_keeps_order(server: RunningServer) -> None:
    """map runs calls concurrently and yields their results in order."""
    with FibClient(server.address, cache_bytes=0) as client:
        assert list(client.map("number", range(200))) == fibonacci(0, 200)
        starts = range(0, 100, 10)
        results = list(client.map("range", starts, [start + 10 for start in starts]))
        assert [number for result in results for number in result] == fibonacci(0, 100)
        with pytest.raises(ValueError, match="must be one of first"):
            client.map("close")


def test_map_accepts_endless_iterables(server: RunningServer) -> None:
    """map queues a limited number of calls, so its iterables may be endless."""
    with FibClient(server.address, max_connections=2) as client:
        numbers = client.map("number", itertools.count())
        assert [next(numbers) for _ in range(50)] == fibonacci(0, 50)


def test_callback_of_future_may_close_client(server: RunningServer) -> None:
    """A future's callback may close the client."""
    client = FibClient(server.address)
    closed = threading.Event()

    def close(call: "Future[Any]") -> None:
        client.close()
        closed.set()

    client.submit("first", 3).add_done_callback(close)
    assert closed.wait(DEADLINE_SECONDS)
    with pytest.raises(ClientClosed):
        client.ping()


@pytest.mark.parametrize("format", ["json", "text", "binary"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_slice_is_fetched_in_parts(server: RunningServer, format: str, parts: int) -> None:
    """A large slice is fetched over several connections and joined in order."""
    with FibClient(server.address, cache_bytes=0) as client:
        assert client.read(0, 4000, format, parts=parts) == expected(format, 0, 4000)
        assert client.read(20, 25, format, parts=parts) == expected(format, 20, 25)
        assert client.read(5, 5, format, parts=parts) == b""


def test_no_bytes_need_no_server() -> None:
    """An empty slice, or an empty byte range, needs no server."""
    with FibClient("127.0.0.1:1", max_retries=0) as client:
        assert client.read(5, 5, "json", parts=3) == b""
        assert client.read(5, 5, "json") == b""
        assert list(client.stream(0, 2**100, "json", begin=10**20, end=10**20)) == []


def test_error_reply_is_raised_before_allocation(server: RunningServer) -> None:
    """An error reply is raised before a buffer is allocated."""
    with (
        FibClient(server.address) as client,
        pytest.raises(RequestRefused, match="LIMIT"),
    ):
        client.read(0, 10_000_002, "text", parts=4)


def test_client_thread_connects_when_it_starts(server: RunningServer) -> None:
    """A client thread opens its connection before its first call, and no second one."""
    with FibClient(server.address, cache_bytes=0) as client:
        client.submit("number", 1).result()
        assert client.stats().connections_opened == 1


def _length(stream: Iterator[memoryview]) -> int:
    return sum(map(len, stream))


def test_close_ends_all_calls() -> None:
    """Calls in progress, calls that wait and queued calls all raise ClientClosed."""
    with fake_server(in_turn(None)) as server:
        client = FibClient(server.address, max_connections=2, cache_bytes=0)
        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(client.number, 1) for _ in range(4)]
            calls += [client.submit("number", 2) for _ in range(2)]
            calls += [threads.submit(_length, client.stream(0, 9, "json"))]
            wait_until(lambda: len(server.requests) == 2, "two are in flight")
            wait_until(lambda: client.stats().waiting == 5, "the others wait")
            queued = client.submit("number", 3)
            client.close()
            for call in calls:
                assert isinstance(call.exception(), ClientClosed)
            assert isinstance(queued.exception(), ClientClosed)


def test_close_wakes_waiter_for_fetch(server: RunningServer) -> None:
    """A call that waits for another's fetch is woken as well."""
    with fake_server(in_turn(None)) as silent:
        client = FibClient(silent.address)
        with ThreadPoolExecutor(3) as threads:
            calls = [threads.submit(client.first, 9) for _ in range(3)]
            assert silent.was_asked.wait(DEADLINE_SECONDS)
            client.close()
            for call in calls:
                assert isinstance(call.exception(), ClientClosed)


# The cache.


def test_chunks_from_cache_are_small(server: RunningServer) -> None:
    """A stream from the cache yields chunks no larger than one from a server."""
    with FibClient(server.address) as client:
        want = client.read(0, 3000, "json")
        pieces = list(client.stream(0, 3000, "json"))
        assert b"".join(pieces) == want
        assert max(map(len, pieces)) <= 256 * 1024


def test_large_gap_before_slice_is_not_fetched(serve: Callable[..., RunningServer]) -> None:
    """If the gap before a slice is too large to fetch, the slice is fetched alone."""
    server = serve(FIBSERVER_MAX_ANSWER_BYTES="1000000")
    with FibClient(server.address) as client:
        assert client.size(0, 3700, "json") > 1_000_000
        assert client.read(2500, 3700, "json") == expected("json", 2500, 3700)
        assert client.stats().cache.misses == 1


def test_cache_fetches_only_missing_tail(server: RunningServer) -> None:
    """A shorter prefix needs no server; a longer one fetches only its tail."""
    with FibClient(server.address) as client:
        assert client.read(0, 1000, "json") == expected("json", 0, 1000)
        assert client.read(500, 600, "json") == expected("json", 500, 600)
        assert client.read(0, 1500, "json") == expected("json", 0, 1500)
        assert client.first(20) == fibonacci(0, 20)
        cache = client.stats().cache
        assert (cache.hits, cache.extensions, cache.misses) == (1, 3, 0)
        assert cache.elements == {"json": 1500, "binary": 20}


def test_thundering_herd_transfers_once(serve: Callable[..., RunningServer]) -> None:
    """200 threads that read the same uncached prefix transfer it once."""
    server = serve()
    want = expected("json", 0, 5000)
    sent = int(server.info()["total_net_output_bytes"])
    with (
        FibClient(server.address, timeout_seconds=DEADLINE_SECONDS) as client,
        ThreadPoolExecutor(200) as threads,
    ):
        results = list(threads.map(lambda n: client.read(0, 5000, "json"), range(200)))
    assert all(result == want for result in results)
    sent = int(server.info()["total_net_output_bytes"]) - sent
    assert len(want) <= sent < len(want) + 20_000
