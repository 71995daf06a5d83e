"""Tests for the shared memory of metric values."""

import os
import signal

import pytest

from fibweb.stats.shared_stats import HALF_BYTES, SharedStats
from tests.support.waiting import wait_until


def test_row_has_last_written_data() -> None:
    """Each row has the data that was last written, and none at first."""
    stats = SharedStats(3)
    assert stats.read_all() == [b"", b"", b""]
    for data in (b"one", b"a longer one", b"", b"x" * 1000):
        stats.write(1, data)
        assert stats.read_all() == [b"", data, b""]


def test_data_larger_than_row_is_rejected() -> None:
    """Data that does not fit is rejected, and the previous data remains."""
    stats = SharedStats(2)
    stats.write(0, b"before")
    stats.write(1, b"neighbour")
    stats.write(0, b"x" * (HALF_BYTES - 8))
    with pytest.raises(ValueError, match="do not fit"):
        stats.write(0, b"y" * (HALF_BYTES - 7))
    assert stats.read_all() == [b"x" * (HALF_BYTES - 8), b"neighbour"]


def test_row_is_never_read_half_written() -> None:
    """A row is read while another process writes it, and is never half-written."""
    stats = SharedStats(1)
    pid = os.fork()
    if not pid:
        try:
            for number in range(10**9):
                stats.write(0, b"%d" % (number % 10) * (1 + number % 5000))
        finally:
            os._exit(1)
    seen: set[bytes] = set()

    def have_many_been_seen() -> bool:
        seen.update(stats.read(0) for _ in range(1000))
        return len(seen) > 100

    try:
        wait_until(have_many_been_seen, "many different rows")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    seen.add(stats.read(0))
    assert all(len(set(data)) <= 1 for data in seen), "half of one and half of another"


def test_overtaken_reader_reads_again() -> None:
    """A reader that is overtaken by the writer reads again."""

    class Overtaken(SharedStats):
        is_overtaking = False

        def _half(self, row: int, version: int) -> memoryview:
            if self.is_overtaking:
                self.is_overtaking = False
                self.write(row, b"new")
            return super()._half(row, version)

    stats = Overtaken(1)
    stats.write(0, b"old")
    stats.is_overtaking = True
    assert stats.read(0) == b"new"
