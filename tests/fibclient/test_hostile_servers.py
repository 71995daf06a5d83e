"""Servers that try to exhaust the memory of a client."""

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from fibclient import FibClient, FibError, RequestRefused, ServerMisbehaved
from tests.support.fake_server import fake_server

MIB = 1024 * 1024

ROOM = 3 * MIB
"""Memory for the largest reply, in client and fake server, and for all else in the process."""


def endless(piece: bytes, first: bytes = b"") -> Iterator[bytes]:
    """Yield bytes until the client closes the connection."""
    yield first
    while True:
        yield piece


def announced(first: bytes) -> Iterator[bytes]:
    """Yield the beginning of a reply, and leave the connection open."""
    yield first
    threading.Event().wait(0.2)


REPLIES: dict[str, Callable[[], Iterator[bytes]]] = {
    "a large string": lambda: endless(b"x" * 65536, b"$%d\r\n" % (64 * MIB)),
    "a string that never comes": lambda: announced(b"$%d\r\n" % (64 * MIB)),
    "one that is just allowed": lambda: announced(b"$%d\r\n" % (MIB - 1000)),
    "an endless status": lambda: endless(b"x" * 65536, b"+"),
    "an endless error": lambda: endless(b"x" * 65536, b"-ERR "),
    "a large array": lambda: endless(b"*0\r\n" * 10_000, b"*10000000\r\n"),
    "arrays in arrays": lambda: endless(b"*2000\r\n" + b"*0\r\n" * 2000, b"*2000\r\n"),
    "an array of strings": lambda: endless(b"$60000\r\n" + b"x" * 60_000 + b"\r\n", b"*10000\r\n"),
    "replies that nobody asked for": lambda: endless(b"+PONG\r\n" * 10_000),
}

ANNOUNCED = ("a string that never comes", "one that is just allowed")

LITTLE = MIB // 2
"""Memory for a reply that is announced but not sent."""

CALLS: dict[str, Callable[[FibClient], object]] = {
    "ping": lambda client: client.ping(),
    "info": lambda client: client.info_text(),
    "read": lambda client: client.read(0, 5, "json"),
    "parts": lambda client: client.read(0, 5, "json", parts=2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reply", REPLIES)
def test_reply_memory_is_bounded(reply: str, call: str) -> None:
    """Whatever a server announces or sends, a call takes a few MiB at most."""
    with (
        fake_server(lambda words: REPLIES[reply](), answers_pings=False) as server,
        FibClient(
            server.address, max_retries=0, timeout_seconds=5, idle_timeout_seconds=0.1
        ) as client,
    ):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            with suppress(FibError):  # some replies are harmless
                CALLS[call](client)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak - before < (LITTLE if reply in ANNOUNCED else ROOM)


@pytest.mark.parametrize("size", [2 * MIB, 64 * MIB])
def test_too_large_reply_raises_at_header(size: int) -> None:
    """A reply that is too large raises as soon as its header is read."""
    with fake_server(lambda words: b"$%d\r\n" % size) as server:
        with (
            FibClient(server.address, max_retries=0) as client,
            pytest.raises(ServerMisbehaved, match="larger than 1048576 bytes"),
        ):
            client.info_text()
        with (
            FibClient(server.address, max_retries=0) as client,
            pytest.raises(ServerMisbehaved, match=r"instead of a string of \d+ bytes"),
        ):
            client.read(0, 5, "json")


def test_largest_allowed_reply_is_accepted() -> None:
    """A reply of half a MiB is accepted, and an error line of just under 64 KiB."""
    text = b"x" * (MIB // 2)
    with (
        fake_server(lambda words: b"$%d\r\n%b\r\n" % (len(text), text)) as server,
        FibClient(server.address, max_retries=0) as client,
    ):
        assert client.info_text() == text.decode()
    line = b"-ERR " + b"x" * 60_000
    with (
        fake_server(lambda words: line + b"\r\n") as server,
        FibClient(server.address, max_retries=0) as client,
        pytest.raises(RequestRefused, match=r"^ERR x{60000}$"),
    ):
        client.info_text()
