"""What the cheap figures of a process's memory count twice."""

import os
import signal
from collections.abc import Iterator

import pytest

from fibserver.core.process_memory import PERIOD_SECONDS, MemoryMeasurement, overcounted_bytes
from tests.fibserver.small_machine import FakeClock

MIB = 2**20


@pytest.fixture
def child() -> Iterator[int]:
    """A forked process that waits, and shares 32 MiB with this one."""
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
    """A page that a parent and its child share counts for half in both."""
    for pid in (child, os.getpid()):
        assert overcounted_bytes(pid) > 12 * MIB


def test_a_process_that_is_gone() -> None:
    """Nothing is known of it."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert overcounted_bytes(pid) == 0


def test_measured_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process and its parent are measured at first, and again when that is long ago."""
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
