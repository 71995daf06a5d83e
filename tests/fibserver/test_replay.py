"""The replay table: what it keeps, and what bounds it."""

from fibserver.replay import JOIN_BELOW_BYTES, MAX_BYTES, MAX_ENTRIES, ReplayTable
from fibserver.statistics import CommandStatistics

COMMANDS = [CommandStatistics("fib.first")]


def learn(table: ReplayTable, received: bytes, *buffers: bytes | memoryview) -> None:
    """Have the table remember a reply."""
    table.learn(received, list(buffers), COMMANDS)


def test_unknown_request() -> None:
    """Bytes that were not seen before have no replay."""
    table = ReplayTable()
    learn(table, b"FIB.FIRST 1\r\n", b"0")
    assert table.get(b"FIB.FIRST 2\r\n") is None


def test_small_reply_is_joined() -> None:
    """A reply below 64 KiB becomes one bytes object of its own."""
    shared = bytearray(b"0,1,1,2")
    table = ReplayTable()
    learned = table.learn(b"request", [b"$7\r\n", memoryview(shared), b"\r\n"], COMMANDS)
    shared[:] = b"changed"
    replay = table.get(b"request")
    assert replay is learned
    assert replay == ([b"$7\r\n0,1,1,2\r\n"], COMMANDS)


def test_join_limit() -> None:
    """From 64 KiB on a reply stays the slices of shared memory that it is."""
    table = ReplayTable()
    view = memoryview(bytes(JOIN_BELOW_BYTES))
    learn(table, b"large", b"", view)
    learn(table, b"small", b"", view[1:])
    large, small = table.get(b"large"), table.get(b"small")
    assert large is not None
    assert small is not None
    assert large.buffers[1] is view
    assert small.buffers == [bytes(JOIN_BELOW_BYTES - 1)]


def test_entries_are_bounded() -> None:
    """A full table is emptied for the next entry."""
    table = ReplayTable()
    keys = [b"%d" % number for number in range(MAX_ENTRIES)]
    for key in keys:
        learn(table, key, b"+OK\r\n")
    assert all(table.get(key) for key in keys)
    learn(table, b"one more", b"+OK\r\n")
    assert not any(table.get(key) for key in keys)
    assert table.get(b"one more")


def kept_of(table: ReplayTable, count: int, received_size: int, reply: bytes) -> int:
    """Learn `count` entries of the same sizes; return how many are there in the end."""
    keys = [b"%d" % number for number in range(count)]
    for key in keys:
        learn(table, key.ljust(received_size), reply)
    return sum(table.get(key.ljust(received_size)) is not None for key in keys)


def test_bytes_are_bounded() -> None:
    """Requests and joined replies count, and together never exceed the limit."""
    received_size, reply = 1024, bytes(JOIN_BELOW_BYTES - 1)
    fitting = MAX_BYTES // (received_size + len(reply))
    assert kept_of(ReplayTable(), fitting, received_size, reply) == fitting
    assert kept_of(ReplayTable(), fitting + 1, received_size, reply) == 1


def test_shared_memory_is_not_counted() -> None:
    """Replies that stay in shared memory take no room in the table."""
    view = memoryview(bytes(MAX_BYTES // 2))
    table = ReplayTable()
    for number in range(10):
        learn(table, b"%d" % number, view)
    assert all(table.get(b"%d" % number) for number in range(10))


def test_clear() -> None:
    """A cleared table holds nothing, and has all its room again."""
    received_size, reply = 1024, bytes(JOIN_BELOW_BYTES - 1)
    fitting = MAX_BYTES // (received_size + len(reply))
    table = ReplayTable()
    assert kept_of(table, fitting, received_size, reply) == fitting
    table.clear()
    assert table.get(b"0".ljust(received_size)) is None
    assert kept_of(table, fitting, received_size, reply) == fitting
