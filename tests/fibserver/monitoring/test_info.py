"""Tests of the process data in INFO and how long it is cached."""

import os

import pytest

from fibserver.monitoring.server_info import REMEMBERED_SECONDS, recent_usage
from tests.support.small_engine import FakeClock


def test_process_facts_are_remembered_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process data is read from the kernel at most once per period."""
    clock = FakeClock()
    monkeypatch.setattr("fibserver.monitoring.info.time.monotonic", clock)
    clock.now += REMEMBERED_SECONDS / 2 - clock.now % REMEMBERED_SECONDS
    first = recent_usage(os.getpid())
    assert first.memory_bytes > 0
    assert recent_usage(os.getpid()) is first
    clock.now += REMEMBERED_SECONDS
    assert recent_usage(os.getpid()) is not first
