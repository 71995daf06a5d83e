"""Tests of replies of any size from a server with little memory."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fibclient import RequestRefused
from fibcommon.formats import FORMATS
from tests.fibserver.readers import HashingReader
from tests.support.expected import digest_of_first, expected
from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client
from tests.support.sockets import connected, read_exactly

Serve = Callable[..., RunningServer]

MIB = 1024 * 1024
MEMORY_LIMIT = 64 * MIB
ALLOWED_BYTES = MEMORY_LIMIT + 16 * 4 * MIB
"""Maximum growth of the server's memory: the limit and 16 blocks."""

N = 100_000
REQUEST = b"FIB.FIRST %d FORMAT json" % N
ANSWER_BYTES = FORMATS["json"].slice_size(0, N)


@pytest.fixture
def small(serve: Serve) -> RunningServer:
    """Return a server with little memory for numbers."""
    return serve("--workers", "2", FIBSERVER_MEMORY_LIMIT="64MiB")


@contextmanager
def bounded_memory(server: RunningServer) -> Iterator[None]:
    """Fail if the server's memory grows by more than allowed within the context."""
    before = highest = server.memory_bytes()
    is_over = threading.Event()

    def poll() -> None:
        nonlocal highest
        while not is_over.wait(0.1):
            highest = max(highest, server.memory_bytes())

    watcher = threading.Thread(target=poll)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
    grown = highest - before
    assert grown <= ALLOWED_BYTES, f"{grown / MIB:.0f} MiB more than at the start"


def test_a_gigabyte_streams_in_bounded_memory(small: RunningServer) -> None:
    """A fast reader gets every byte right while others read slowly or not at all."""
    stopped = HashingReader(small, REQUEST)
    stopped.read_header()
    with bounded_memory(small), ThreadPoolExecutor(4) as threads:
        slow = [HashingReader(small, REQUEST, 64 * 1024) for _ in range(3)]
        reads = [threads.submit(each.read_slowly, MIB, 2 * MIB) for each in slow]
        fast = HashingReader(small, REQUEST)
        assert fast.read_header() == ANSWER_BYTES
        assert fast.read_all() == digest_of_first(N)
        for read in reads:
            read.result(DEADLINE_SECONDS)
    for reader in (fast, stopped, *slow):
        reader.close()
    small.wait_until(lambda server: server.info()["slots_used"] == "0", "slots are free")
    assert small.info()["worker_deaths"] == "0"


@pytest.mark.soak
def test_ten_readers_of_a_gigabyte(small: RunningServer) -> None:
    """Ten fast and ten slow readers are served in bounded memory."""
    with bounded_memory(small), ThreadPoolExecutor(20) as threads:
        slow = [HashingReader(small, REQUEST, 64 * 1024) for _ in range(10)]
        fast = [HashingReader(small, REQUEST) for _ in range(10)]
        slow_reads = [threads.submit(each.read_slowly, MIB, 20 * MIB) for each in slow]
        fast_reads = [threads.submit(each.read_all) for each in fast]
        for read in slow_reads:
            read.result()
        for each in slow:
            each.close()
        assert {read.result() for read in fast_reads} == {digest_of_first(N)}
    for each in fast:
        each.close()


def test_stalled_readers_do_not_delay_others(small: RunningServer) -> None:
    """Stalled readers, more than there are slots, delay nobody and can continue later."""
    start, stop = 200_000, 200_200  # 8 MB, far beyond the array
    request = b"FIB.RANGE %d %d FORMAT json" % (start, stop)
    with bounded_memory(small):
        stopped = [HashingReader(small, request, 4096) for _ in range(20)]
        for reader in stopped:
            reader.read_header()
        with direct_client(small.address) as client:
            want = client.read(start, stop, "json")
            assert client.number(1_000_000) % 10**9 == pow_fibonacci(1_000_000, 10**9)
        digests = {reader.read_all() for reader in stopped}
    one = HashingReader(small, request)
    assert digests == {one.read_all()} == {hashlib.sha256(want).hexdigest()}
    assert one.received_bytes == len(want)
    for reader in (one, *stopped):
        reader.close()


def pow_fibonacci(n: int, modulus: int) -> int:
    """Return F(n) modulo `modulus`, by doubling."""
    current, following = 0, 1
    for bit in f"{n:b}":
        even = current * (2 * following - current) % modulus
        odd = (current * current + following * following) % modulus
        current, following = (odd, (even + odd) % modulus) if bit == "1" else (even, odd)
    return current


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "array"])
def test_far_range_needs_no_elements_before_it(small: RunningServer, format: str) -> None:
    """A far range is computed without the elements before it, in every format."""
    with direct_client(small.address) as client:
        got = client.read(60_000, 60_040, format)
    assert got == expected(format, 60_000, 60_040)
    assert small.info()[format].startswith("elements=0,bytes=0,streamed_bytes=")


def test_digits_of_numbers(small: RunningServer) -> None:
    """Some digits are those of the whole number: in arrays, in far and in kept blocks."""
    with direct_client(small.address) as client, connected(small) as sock:
        for n in (100, 3000, 3000, 500_000, 500_000):
            whole = client.read(n, n + 1, "text").rstrip()
            for start, count in ((0, 5), (len(whole) // 2, 7), (len(whole) - 2, 9)):
                sock.sendall(b"FIB.NUMBER %d FROM %d COUNT %d\r\n" % (n, start, count))
                digits = whole[start : start + count]
                reply = b"$%d\r\n%b\r\n" % (len(digits), digits)
                assert read_exactly(sock, len(reply)) == reply


def test_giant_number_is_exact(small: RunningServer) -> None:
    """F(10,000,000) has 2,089,877 digits, with the right ones at both ends."""
    with direct_client(small.address) as client:
        digits = client.read(10_000_000, 10_000_001, "text").rstrip()
    assert len(digits) == 2_089_877
    assert int(digits[-40:]) == pow_fibonacci(10_000_000, 10**40)
    assert digits.startswith(b"11298343782253997603170636377458663729448371")


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (0, 10_000_002, "F(10000001) is too large: max_index is 10000000"),
        (0, 200_000, "max_answer_bytes is 2.1 GB (2147483648 bytes)"),
        (10**30, 10**30 + 1, "max_index is 10000000"),
    ],
)
def test_reply_over_limit_is_rejected_before_computing(
    small: RunningServer, start: int, stop: int, message: str
) -> None:
    """A reply over a limit is rejected with the limit before anything is computed."""
    with direct_client(small.address) as client, pytest.raises(RequestRefused) as caught:
        client.read(start, stop, "json")
    assert caught.value.code == "LIMIT"
    assert message in str(caught.value)
    assert small.info()["blocks_computed"] == "0"


def test_a_cold_format_makes_room(small: RunningServer) -> None:
    """The least recently used format is evicted when memory is short."""
    with direct_client(small.address) as client:
        client.read(0, 24_000, "json")  # nearly fills the memory
        assert resident(small, "json") > 55 * MIB
        for format in ("text", "csv"):
            assert client.read(0, 12_000, format) == expected(format, 0, 12_000)
        assert client.read(0, 12_000, "json") == expected("json", 0, 12_000)
    assert resident(small, "text") > 14 * MIB
    assert resident(small, "csv") > 14 * MIB
    assert resident(small, "json") < 35 * MIB
    assert sum(resident(small, format) for format in FORMATS) <= MEMORY_LIMIT
    assert int(small.info()["evicted_keys"]) > 0


def resident(server: RunningServer, format: str) -> int:
    """Return how many bytes of a format are resident."""
    fields = dict(pair.split("=") for pair in server.info()[format].split(","))
    return int(fields["bytes"])
