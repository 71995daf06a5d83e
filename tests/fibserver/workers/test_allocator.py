"""Test of the allocator setting."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
from fibserver.workers.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for round in range(10):
    if round == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [bytearray(b"x") * 1_000_000 for _ in range(5)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Return the page faults of allocations that repeat earlier ones."""
    command = [sys.executable, "-c", COUNT_FAULTS, how]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again() -> None:
    """Large arrays get the pages of those that were freed before."""
    assert faults("kept") < 100 < faults("default")
