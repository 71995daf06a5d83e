"""Tests of the correction for shared pages of a process."""

import os
import signal
from collections.abc import Iterator

import pytest

from fibserver.core.process_memory import PERIOD_SECONDS, MemoryMeasurement, overcounted_bytes
from tests.support.small_engine import FakeClock

MIB = 2**20


@pytest.fixture
def child() -> Iterator[int]:
    """Return the pid of a forked process that shares 32 MiB with this one."""
    shared = bytearray(b"x") * (32 * MIB)
    pid = os.fork()
    if not pid:
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(shared) == 32 * MIB


def test_shared_pages_count_once(child: int) -> None:
    """Half of the pages shared with another process are subtracted from each."""
    for pid in (child, os.getpid()):
        assert overcounted_bytes(pid) > 12 * MIB


def test_ended_process_counts_0() -> None:
    """The result for a process that has ended is 0."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert overcounted_bytes(pid) == 0


def test_measured_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process and its parent are measured periodically."""
    measured: list[int] = []

    def measure(pid: int) -> int:
        measured.append(pid)
        return 7

    monkeypatch.setattr("fibserver.core.process_memory.overcounted_bytes", measure)
    clock = FakeClock()
    memory = MemoryMeasurement(clock)
    assert (memory.own_bytes, memory.parent_bytes) == (0, 0)
    memory.refresh()
    assert measured == [os.getpid(), os.getppid()]
    assert (memory.own_bytes, memory.parent_bytes) == (7, 7)
    clock.now += PERIOD_SECONDS / 3
    memory.refresh()
    assert len(measured) == 2
    clock.now += PERIOD_SECONDS
    memory.refresh()
    assert len(measured) == 4
