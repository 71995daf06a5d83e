"""redis-py with RESP2 and RESP3."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.cache import CacheConfig

from fibcommon.modular import fibonacci_mod
from tests.support.expected import ENCODERS, expected, fibonacci
from tests.support.servers import RunningServer

TIMEOUT_SECONDS = 30

Connect = Callable[..., redis.Redis]


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def connect(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Connect]:
    """Return a factory of clients of the shared server, which are closed after the test."""
    clients = []

    def make(**options: Any) -> redis.Redis:
        client = redis.Redis(
            host="127.0.0.1",
            port=server.port,
            protocol=request.param,
            socket_timeout=TIMEOUT_SECONDS,
            **options,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> redis.Redis:
    """A client with default settings."""
    return connect()


def ask(client: Any, *words: object) -> Any:
    """Send a request through a client or pipeline, whose own method is not typed."""
    return client.execute_command(*words)


def test_maps(client: redis.Redis) -> None:
    """Replies of several fields are dictionaries with RESP3, and flat lists with RESP2."""
    digits = [b"digits", b"209", b"first", b"434", b"last", b"75"]
    found = ask(client, "FIB.DIGITS", 1000, "FIRST", 3, "LAST", 2)
    assert found in (digits, dict(zip(digits[::2], digits[1::2], strict=True)))
    index = [b"indices", [], b"below", 11, b"above", 12, b"zeckendorf", [11, 6, 4]]
    found = ask(client, "FIB.INDEX", 100)
    assert found in (index, dict(zip(index[::2], index[1::2], strict=True)))
    assert ask(client, "FIB.INDEX", "DIGITS", 1000) == b"4782"
    assert ask(client, "FIB.MOD", 10**999, 97) == ask(client, "FIB.MOD", 10**999 % 196, 97)
    long = 10**1000 - 1  # which takes a worker some tenths of a second
    assert int(ask(client, "FIB.MOD", long, long - 1)) == fibonacci_mod(long, long - 1)
    limits = ask(client, "FIB.LIMITS")
    assert (limits[1] if isinstance(limits, list) else limits[b"max_index"]) == 10_000_000


def as_bytes(numbers: list[int]) -> list[bytes]:
    """Return numbers as the elements of an array."""
    return [b"%d" % number for number in numbers]


def test_arrays_are_lists_of_bytes(client: redis.Redis) -> None:
    """Numbers in the default format arrive as elements, of any size."""
    assert ask(client, "FIB.FIRST", 1000) == as_bytes(fibonacci(0, 1000))
    assert ask(client, "fib.range", 90, 3000) == as_bytes(fibonacci(90, 3000))
    assert ask(client, "FIB.NUMBER", 1000) == b"%d" % fibonacci(0, 1001)[1000]
    assert ask(client, "FIB.FIRST", 0) == []


@pytest.mark.parametrize("format", ENCODERS)
def test_formats_are_bulk_strings(client: redis.Redis, format: str) -> None:
    """Every command supports every format, with the size that FIB.SIZE returns."""
    first = ask(client, "FIB.FIRST", 300, "FORMAT", format)
    part = ask(client, "FIB.RANGE", 90, 300, "format", format.upper())
    alone = ask(client, "FIB.NUMBER", 299, "FORMAT", format)
    size = ask(client, "FIB.SIZE", 90, 300, "FORMAT", format)
    assert size == len(expected(format, 90, 300))
    if format == "array":
        assert first == as_bytes(fibonacci(0, 300))
        assert part == as_bytes(fibonacci(90, 300))
        assert alone == b"%d" % fibonacci(0, 300)[299]
    else:
        assert first == expected(format, 0, 300)
        assert part == expected(format, 90, 300)
        assert alone == expected(format, 299, 300)
        assert ask(client, "FIB.FIRST", 0, "FORMAT", format) == b""


def test_decoded_responses_are_text(connect: Connect) -> None:
    """With decode_responses numbers are str."""
    client = connect(decode_responses=True)
    assert ask(client, "FIB.FIRST", 100) == list(map(str, fibonacci(0, 100)))
    assert ask(client, "FIB.FIRST", 9, "FORMAT", "csv") == expected("csv", 0, 9).decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FIB.FIRST"], "wrong number of arguments for 'fib.first' command"),
        (["FIB.FIRST", "-1"], "n is '-1': give a whole number from 0 on, in digits only"),
        (["FIB.RANGE", "5", "4"], "start 5 is greater than stop 4"),
        (["FIB.FIRST", "5", "FORMAT", "xml"], "unknown format 'xml': it must be one of array, js"),
        (["FIB.FIRST", "5", "AS", "json"], "syntax error: expected FORMAT and a format's name"),
        (["FIB.NUMBER", "99999999"], "LIMIT F"),
        (["FIB.FIRST", "1000000"], "LIMIT the numbers have"),
        (["GET", "key"], "unknown command 'GET', with args beginning with: 'key'"),
        (["CLIENT", "NONSENSE"], "unknown subcommand 'NONSENSE'. Try CLIENT HELP."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_error_leaves_connection_usable(connect: Connect, words: list[str], message: str) -> None:
    """A rejected request raises ResponseError; its connection stays usable."""
    client = connect(single_connection_client=True)
    identity = client.client_id()
    with pytest.raises(redis.ResponseError) as caught:
        ask(client, *words)
    assert str(caught.value).startswith(message)
    assert ask(client, "FIB.FIRST", 5) == as_bytes(fibonacci(0, 5))
    assert client.client_id() == identity


@pytest.mark.parametrize("transaction", [True, False])
def test_pipeline_returns_results_in_order(client: redis.Redis, transaction: bool) -> None:
    """A pipeline returns its results in order, errors included, with or without MULTI."""
    with client.pipeline(transaction=transaction) as pipeline:
        for n in range(200):
            ask(pipeline, "FIB.NUMBER", n)
        ask(pipeline, "FIB.FIRST", 10)
        ask(pipeline, "FIB.RANGE", 9, 3)
        pipeline.ping()
        results = pipeline.execute(raise_on_error=False)
    assert results[:201] == [*as_bytes(fibonacci(0, 200)), as_bytes(fibonacci(0, 10))]
    assert isinstance(results[201], redis.ResponseError)
    assert results[202:] == [True]


def test_broken_transaction_is_discarded(client: redis.Redis) -> None:
    """A request that cannot be queued makes EXEC fail; the connection stays usable."""
    with client.pipeline() as pipeline:
        ask(pipeline, "FIB.FIRST", 10)
        ask(pipeline, "NONSENSE")
        with pytest.raises(redis.ResponseError, match="unknown command 'NONSENSE'"):
            pipeline.execute()
    assert client.ping()


def test_pool_serves_threads(connect: Connect) -> None:
    """Threads that share a pool each get their own replies."""
    client = connect(max_connections=8)

    def is_answered(index: int) -> bool:
        start = index % 100
        numbers = ask(client, "FIB.RANGE", start, start + 50)
        return bool(numbers == as_bytes(fibonacci(start, start + 50)))

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(is_answered, range(800)))


def test_options_of_a_connection_are_accepted(connect: Connect) -> None:
    """Connections may start with health checks, a client name and database 0."""
    client = connect(health_check_interval=1, client_name="test-peer", db=0)
    assert ask(client, "FIB.FIRST", 3) == as_bytes([0, 1, 1])
    assert client.client_getname() in ("test-peer", b"test-peer")
    info = client.client_info()
    assert info["name"] == "test-peer"
    assert info["lib-name"] == "redis-py"
    assert info["lib-ver"] == redis.__version__


def test_help_is_a_list_of_lines(client: redis.Redis) -> None:
    """HELP is a list of lines, and CLIENT LIST accepts several client IDs."""
    assert ask(client, "CLIENT HELP")[0].startswith(b"CLIENT <subcommand> ")
    own = client.client_id()
    assert [entry["id"] for entry in client.client_list(client_id=[own, 0])] == [str(own)]


def test_reset_connection_works_again(client: redis.Redis) -> None:
    """A pool whose connections were closed opens new ones."""
    assert client.ping()
    client.connection_pool.disconnect()
    assert ask(client, "FIB.NUMBER", 10) == b"55"


def test_information_is_parsed(client: redis.Redis) -> None:
    """INFO has the fields that Redis dashboards read, in whole and by section."""
    everything = client.info()
    assert everything["redis_mode"] == "standalone"
    assert everything["role"] == "master"
    assert everything["loading"] == 0
    assert everything["connected_clients"] >= 1
    assert everything["used_memory_rss"] > everything["used_memory"] >= 0
    assert everything["total_commands_processed"] >= 0
    assert everything["total_connections_received"] >= 1
    assert everything["uptime_in_seconds"] >= 0
    assert client.info("ALL").keys() > everything.keys()
    assert client.info("commandstats")["cmdstat_info"]["calls"] >= 1
    assert client.info("replication") == {"role": "master", "connected_slaves": 0}


def test_settings_can_be_read(client: redis.Redis) -> None:
    """CONFIG GET returns our settings, and those of Redis that tools read."""
    assert client.config_get("max_index") == {"max_index": "10000000"}
    assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
    assert client.config_get("no-such-setting") == {}
    assert {"maxclients", "max_clients", "memory_limit"} <= client.config_get("*").keys()


def test_commands_describe_themselves(client: redis.Redis) -> None:
    """COMMAND, COMMAND COUNT, LIST, INFO and DOCS list the same commands."""
    commands = client.command()
    assert commands["fib.first"]["arity"] == -2
    assert client.command_count() == len(commands)
    names = {name.decode() for name in ask(client, "COMMAND LIST")}
    assert names == set(commands)
    assert {"fib.first", "fib.range", "fib.number", "fib.size", "ping", "info"} <= names
    docs = ask(client, "COMMAND DOCS", "FIB.FIRST", "nonsense")
    pairs = docs if isinstance(docs, dict) else dict(zip(docs[::2], docs[1::2], strict=True))
    assert list(pairs) == [b"fib.first"]


def test_time_is_now(client: redis.Redis) -> None:
    """TIME returns seconds and microseconds of the system clock."""
    before = int(time.time())
    seconds, microseconds = client.time()
    assert before <= seconds <= time.time()
    assert 0 <= microseconds < 1_000_000


def test_hello_describes_the_server(connect: Connect, request: pytest.FixtureRequest) -> None:
    """HELLO returns the fields of Redis; an unknown version changes nothing."""
    client = connect(single_connection_client=True, decode_responses=True)
    result = ask(client, "HELLO")
    facts = result if isinstance(result, dict) else dict(zip(*[iter(result)] * 2, strict=True))
    assert facts["server"] == "redis"
    assert facts["proto"] == (3 if "RESP3" in request.node.name else 2)
    assert facts["id"] == client.client_id()
    assert (facts["mode"], facts["role"], facts["modules"]) == ("standalone", "master", [])
    with pytest.raises(redis.ResponseError, match="NOPROTO"):
        ask(client, "HELLO", 4)
    assert client.ping()


def test_small_commands_reply_as_redis_does(client: redis.Redis) -> None:
    """PING, ECHO, SELECT and similar commands reply as libraries expect."""
    assert client.ping()
    assert client.echo("a b\r\nc") == b"a b\r\nc"
    assert ask(client, "SELECT", 0) in (True, b"OK")
    assert client.quit() in (True, b"OK")
    assert client.ping()


def test_client_side_cache(server: RunningServer) -> None:
    """A client with a client-side cache connects: the server accepts CLIENT TRACKING."""
    with redis.Redis(
        host="127.0.0.1", port=server.port, protocol=3, cache_config=CacheConfig()
    ) as client:
        assert ask(client, "FIB.FIRST", 3) == as_bytes([0, 1, 1])
        assert "t" in client.client_info()["flags"]
        assert client.get_cache() is not None


@pytest.mark.parametrize("protocol", [2, 3])
def test_asyncio_client_shares_a_loop(server: RunningServer, protocol: int) -> None:
    """Concurrent requests of the asyncio client each get their own reply."""

    async def run_requests() -> None:
        async with redis.asyncio.Redis(
            host="127.0.0.1", port=server.port, protocol=protocol
        ) as client:
            requests = [ask(client, "FIB.FIRST", n) for n in range(50)]
            results = await asyncio.wait_for(asyncio.gather(*requests), TIMEOUT_SECONDS)
            assert results == [as_bytes(fibonacci(0, n)) for n in range(50)]
            async with client.pipeline() as pipeline:
                ask(pipeline, "FIB.NUMBER", 10)
                ask(pipeline, "FIB.NUMBER", 300)
                assert await pipeline.execute() == [b"55", b"%d" % fibonacci(0, 301)[300]]

    asyncio.run(run_requests())
