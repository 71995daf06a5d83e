"""Tests of the reply cache: its entries and its limits."""

from fibcommon.formats import FORMATS
from fibserver.core.statistics import CommandStatistics
from fibserver.network.reply_cache import MAX_BYTES, MAX_ENTRIES, ReplyCache
from fibserver.protocol.reply_encoding import Reply, Slice

FIRST = CommandStatistics("fib.first")
SLICE = Slice(b"$9\r\n", FORMATS["json"], 0, 1000, 106_000, b"\r\n")


def test_unknown_request() -> None:
    """Unknown bytes have no cached reply."""
    table = ReplyCache()
    table.put(b"FIB.FIRST 1\r\n", [b"0"], FIRST)
    assert table.get(b"FIB.FIRST 2\r\n") is None


def test_small_replies_are_joined() -> None:
    """Replies that are all bytes are joined, so that one call sends them."""
    table = ReplyCache()
    table.put(b"requests", [b"*1\r\n", b"$1\r\n0\r\n"], FIRST, 2)
    reply_cache = table.get(b"requests")
    assert reply_cache is not None
    assert reply_cache.replies == [b"*1\r\n$1\r\n0\r\n"]
    assert reply_cache.ready == b"*1\r\n$1\r\n0\r\n"


def test_slices_stay_slices() -> None:
    """Large replies are stored as slices, in order with the others."""
    table = ReplyCache()
    table.put(b"requests", [b"1", b"2", SLICE, b"3", SLICE], FIRST)
    table.put(b"alone", [SLICE], FIRST)
    reply_cache, alone = table.get(b"requests"), table.get(b"alone")
    assert reply_cache is not None
    assert reply_cache.replies == [b"1", b"2", SLICE, b"3", SLICE]
    assert reply_cache.ready == b""
    assert alone is not None
    assert alone.replies == [SLICE]


def test_requests_are_counted() -> None:
    """An entry holds the command and the number of its requests."""
    table = ReplyCache()
    table.put(b"one", [b"1"], FIRST)
    table.put(b"three", [b"1", b"1", b"1"], FIRST, 3)
    one, three = table.get(b"one"), table.get(b"three")
    assert one is not None
    assert three is not None
    assert (one.command, one.calls) == (FIRST, 1)
    assert (three.command, three.calls) == (FIRST, 3)


def test_entry_is_independent_of_passed_list() -> None:
    """Changing the passed list later does not change the entry."""
    table = ReplyCache()
    replies: list[Reply] = [b"1", SLICE]
    table.put(b"request", replies, FIRST)
    replies.clear()
    reply_cache = table.get(b"request")
    assert reply_cache is not None
    assert reply_cache.replies == [b"1", SLICE]


def test_entry_stored_again_counts_once() -> None:
    """Storing an existing entry again uses no additional memory."""
    table = ReplyCache()
    table.put(b"first", [b"1"], FIRST)
    for _ in range(20):
        table.put(b"large", [bytes(MAX_BYTES // 10)], FIRST)
    assert table.get(b"first")
    assert table.get(b"large")


def test_entries_are_bounded() -> None:
    """In a full cache, the oldest entry gives way to the next one."""
    table = ReplyCache()
    keys = [b"%d" % number for number in range(MAX_ENTRIES)]
    for key in keys:
        table.put(key, [b"+OK\r\n"], FIRST)
    assert all(table.get(key) for key in keys)
    table.put(b"one more", [b"+OK\r\n"], FIRST)
    assert not table.get(keys[0])
    assert all(table.get(key) for key in keys[1:])
    assert table.get(b"one more")


def kept_of(table: ReplyCache, count: int, received: int, *replies: bytes | Slice) -> int:
    """Store `count` entries of equal size; return how many remain."""
    keys = [(b"%d" % number).ljust(received) for number in range(count)]
    for key in keys:
        table.put(key, list(replies), FIRST)
    return sum(table.get(key) is not None for key in keys)


def fitting(held: int) -> int:
    """Return how many entries of a size fit, allowing for a small overhead of each."""
    return MAX_BYTES // (held + 600)


def test_bytes_are_bounded() -> None:
    """The total size of requests and replies never exceeds the limit."""
    received, reply = 1024, bytes(100_000)
    few, many = fitting(received + len(reply)), MAX_BYTES // (received + len(reply)) + 1
    assert kept_of(ReplyCache(), few, received, reply) == few
    assert kept_of(ReplyCache(), many, received, reply) < many
    assert kept_of(ReplyCache(), few, len(reply), bytes(received)) == few
    assert kept_of(ReplyCache(), many, len(reply), bytes(received)) < many


def test_elements_of_slices_are_not_counted() -> None:
    """Slices count as little memory, without their elements in shared memory."""
    huge = SLICE._replace(stop=100_000, size=10**9)
    assert kept_of(ReplyCache(), 100, 50, huge) == 100
    slices = [huge] * 1000
    assert kept_of(ReplyCache(), MAX_BYTES // 1000 // 50, 50, *slices) < MAX_BYTES // 1000 // 50


def test_clear_empties_reply_cache() -> None:
    """A cleared cache is empty, and has its full capacity again."""
    received, reply = 1024, bytes(100_000)
    few = fitting(received + len(reply))
    table = ReplyCache()
    assert kept_of(table, few, received, reply) == few
    table.clear()
    assert table.get(b"0".ljust(received)) is None
    assert kept_of(table, few, received, reply) == few


def test_get_survives_being_cleared() -> None:
    """A bound `get` finds entries that are stored after the cache was cleared."""
    table = ReplyCache()
    get = table.get
    table.clear()
    table.put(b"request", [b"+OK\r\n"], FIRST)
    assert get(b"request")
