"""Tests of CPU time and memory of processes, beside psutil."""

import os
import subprocess
import sys

import psutil
import pytest

from fibcommon.service.process_usage import ProcessUsage, process_usage, unshared_bytes


def test_usage_equals_that_of_psutil() -> None:
    """The figures are those of psutil."""
    before = psutil.Process().cpu_times()
    usage = process_usage(os.getpid())
    after = psutil.Process().cpu_times()
    assert before.user <= usage.cpu_user_seconds <= after.user
    assert before.system <= usage.cpu_system_seconds <= after.system
    memory = psutil.Process().memory_info()
    assert usage.memory_bytes == pytest.approx(memory.rss - memory.shared, rel=0.1)


def test_process_name_with_spaces_and_parentheses() -> None:
    """Spaces and parentheses in the name of a process do not matter."""
    code = (
        "import time\n"
        "open('/proc/self/comm', 'w').write(') 1 (2) ')\n"
        "while time.process_time() < 0.05: pass\n"  # the kernel counts ticks of 10 ms
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        usage = process_usage(child.pid)
        assert usage.memory_bytes > 0
        assert 0 < usage.cpu_seconds < 60
        child.stdin.write(b"\n")


def test_ended_process_has_no_usage() -> None:
    """There is nothing to report of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert process_usage(child.pid) == ProcessUsage(0, 0.0, 0.0)
    assert unshared_bytes(child.pid) == 0
