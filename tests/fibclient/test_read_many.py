"""Tests for reading several slices in one round trip."""

import threading

from fibclient import (
    CallCancelled,
    Cancellation,
    EncodedSlice,
    FibClient,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from tests.support.expected import expected
from tests.support.fake_server import HangUp, fake_server, in_turn
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

ONE, TWO = b"$2\r\n1\n\r\n", b"$2\r\n2\n\r\n"
"""The replies for F(1) or F(2), and for F(3), as text."""


def text(*indices: int) -> list[EncodedSlice]:
    """Return slices of single numbers."""
    return [EncodedSlice.of(n, n + 1, "text") for n in indices]


def test_every_slice_is_read(server: RunningServer) -> None:
    """Slices of all kinds come back in order: cached, far, empty, repeated and large ones."""
    bounds = [(0, 5), (9000, 9001), (7, 7), (12_000, 12_100), (9000, 9001), (3, 4), (2000, 4000)]
    slices = [
        EncodedSlice.of(start, stop, format)
        for start, stop in bounds
        for format in ("text", "json", "binary")
    ]
    for cache_bytes in (0, 1_000_000):
        with FibClient(server.address, cache_bytes=cache_bytes) as client:
            client.first(10)
            for _ in range(2):
                assert client.read_many(slices) == [
                    expected(slice_.format.name, slice_.start, slice_.stop) for slice_ in slices
                ]
            assert client.read_many([]) == []


def test_many_slices_take_one_round_trip() -> None:
    """All requests are sent before the first reply is awaited."""

    def reply(words: list[bytes]) -> bytes:
        return b"" if words[1] != b"4" else ONE + ONE + TWO

    with fake_server(reply) as server, FibClient(server.address, cache_bytes=0) as client:
        assert client.read_many(text(0, 2, 4)) == [b"1\n", b"1\n", b"2\n"]
        assert len(server.requests) == 3
        assert client.stats().connections_opened == 1


def test_an_error_reply_concerns_one_slice() -> None:
    """An error is the result of its slice alone; a temporary one is retried."""
    replies = [b"-LIMIT too large\r\n", b"-BUSY later\r\n", TWO, ONE]
    with (
        fake_server(in_turn(*replies)) as server,
        FibClient(server.address, cache_bytes=0) as client,
    ):
        refused, retried, good = client.read_many(text(0, 2, 4))
        assert isinstance(refused, RequestRefused)
        assert refused.code == "LIMIT"
        assert (retried, good) == (b"1\n", b"2\n")
        assert [words[1] for words in server.requests] == [b"0", b"2", b"4", b"2"]
        assert client.stats().connections_opened == 1


def test_busy_server_refuses_all_that_is_left() -> None:
    """Retries end with the budget of one call, however many slices are refused."""
    with (
        fake_server(in_turn(b"-BUSY later\r\n")) as server,
        FibClient(server.address, cache_bytes=0, max_retries=1) as client,
    ):
        results = client.read_many(text(0, 2, 4))
        assert [type(result) for result in results] == [RequestRefused] * 3
        assert len(server.requests) == 6


def test_a_wrong_reply_concerns_one_slice() -> None:
    """A slice whose reply is wrong has the error; the others are read nevertheless."""

    def reply(words: list[bytes]) -> bytes:
        return {b"0": ONE, b"2": b"$3\r\n11\n\r\n", b"4": TWO}[words[1]]

    with fake_server(reply) as server, FibClient(server.address, cache_bytes=0) as client:
        first, wrong, third = client.read_many(text(0, 2, 4))
        assert (first, third) == (b"1\n", b"2\n")
        assert isinstance(wrong, ServerMisbehaved)
        assert client.stats().in_use == 0


def test_slices_after_a_broken_connection_are_requested_again() -> None:
    """What arrived before the connection broke is kept; only the rest is requested again."""
    with (
        fake_server(in_turn(ONE, HangUp(b"$2\r"), ONE, TWO)) as server,
        FibClient(server.address, cache_bytes=0) as client,
    ):
        assert client.read_many(text(0, 2, 4)) == [b"1\n", b"1\n", b"2\n"]
        assert [words[1] for words in server.requests] == [b"0", b"2", b"2", b"4"]


def test_failures_are_results() -> None:
    """If no server replies, or not as it should, each slice has the error."""
    with FibClient("127.0.0.1:1", cache_bytes=0, max_retries=0) as client:
        results = client.read_many(text(1, 3))
        assert [type(result) for result in results] == [ServerUnreachable] * 2
    with (
        fake_server(in_turn(HangUp())) as server,
        FibClient(server.address, cache_bytes=0, max_retries=1) as client,
    ):
        results = client.read_many(text(*range(0, 20, 2)))
        assert all(isinstance(result, ServerUnreachable) for result in results)
        assert len(server.requests) < 10


def test_cancellation_keeps_what_arrived() -> None:
    """After a cancellation, the slices that have not arrived have the error."""
    token = Cancellation()
    with (
        fake_server(in_turn(ONE, None)) as server,
        FibClient(server.address, cache_bytes=0) as client,
    ):

        def cancel() -> None:
            wait_until(lambda: len(server.requests) > 1, "the second slice is requested")
            token.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        first, second, third = client.read_many(text(0, 2, 4), cancellation=token)
        canceller.join()
        assert first == b"1\n"
        assert isinstance(second, CallCancelled)
        assert isinstance(third, CallCancelled)
        assert client.stats().in_use == 0


def test_consecutive_slices_are_requested_as_one(server: RunningServer) -> None:
    """Slices without a gap take one request for each format, in whatever order they are given."""
    bounds = [(9001, 9002), (9000, 9001), (9002, 9010), (9011, 9012)]
    slices = [
        EncodedSlice.of(*bound, format)
        for bound in bounds
        for format in ("json", "text", "binary")
    ]
    before = int(server.info()["total_commands_processed"])
    with FibClient(server.address, cache_bytes=0) as client:
        assert client.read_many(slices) == [
            expected(slice_.format.name, slice_.start, slice_.stop) for slice_ in slices
        ]
    # Two for each format, and INFO.
    assert int(server.info()["total_commands_processed"]) - before <= 2 * 3 + 2


def test_unreachable_server_is_tried_no_longer_for_consecutive_slices() -> None:
    """Consecutive slices that get no reply have the error of one call, without further ones."""
    with (
        fake_server(in_turn(HangUp())) as server,
        FibClient(server.address, cache_bytes=0, max_retries=1) as client,
    ):
        results = client.read_many(text(*range(10)))
        assert all(isinstance(result, ServerUnreachable) for result in results)
        assert len(server.requests) <= 4


def test_a_refused_run_is_read_one_by_one() -> None:
    """If consecutive slices are refused together, each gets its own reply."""
    replies = [b"-LIMIT too large\r\n", ONE, b"-LIMIT too large\r\n", TWO]
    with (
        fake_server(in_turn(*replies)) as server,
        FibClient(server.address, cache_bytes=0) as client,
    ):
        first, refused, last = client.read_many(text(1, 2, 3))
        assert (first, last) == (b"1\n", b"2\n")
        assert isinstance(refused, RequestRefused)
        assert [words[1:3] for words in server.requests] == [
            [b"1", b"4"],
            [b"1", b"2"],
            [b"2", b"3"],
            [b"3", b"4"],
        ]
