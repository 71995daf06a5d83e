"""CPU time and memory of processes, read from /proc.

psutil provides both, but its import takes 15 ms, at each start of a service or in its event loop.
"""

import os
from typing import NamedTuple

__all__ = ["ProcessUsage", "process_usage", "unshared_bytes"]

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessUsage(NamedTuple):
    """Memory and CPU time of one process.

    Attributes:
        memory_bytes: Resident memory without shared memory. A page that processes share since a
            fork counts in each of them.
        cpu_user_seconds: CPU time in user mode.
        cpu_system_seconds: CPU time in the kernel.
    """

    memory_bytes: int
    cpu_user_seconds: float
    cpu_system_seconds: float

    @property
    def cpu_seconds(self) -> float:
        """Total CPU time."""
        return self.cpu_user_seconds + self.cpu_system_seconds


def process_usage(pid: int) -> ProcessUsage:
    """Return memory and CPU time of a process, zeros if it has ended."""
    # The name, in parentheses, may contain spaces; proc(5) has the fields.
    *_, fields = _read(pid, "stat").rpartition(")")
    user, system = map(int, fields.split()[11:13] or (0, 0))
    return ProcessUsage(unshared_bytes(pid), user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)


def unshared_bytes(pid: int) -> int:
    """Return the resident memory of a process without shared memory, 0 if it has ended."""
    resident, shared = map(int, _read(pid, "statm").split()[1:3] or (0, 0))
    return (resident - shared) * PAGE_BYTES


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except OSError:  # the process has ended, or /proc is not mounted
        return ""
