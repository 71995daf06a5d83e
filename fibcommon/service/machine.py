"""Memory and processors that this process may use: the machine's, or fewer in a control group.

Containers and systemd's MemoryMax and CPUQuota set limits on a control group, version 1 or 2. A
limit of any group above applies as well.
"""

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["affordable_bytes", "memory_limit_bytes", "usable_processors"]

log = logging.getLogger(__name__)

_V1_UNLIMITED = 1 << 60
"""Version 1 has no word for it: the limit is the largest multiple of a page then."""


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the most memory that the control groups allow, /dev/shm included; None: no limit.

    Args:
        root: Where /proc and /sys are.
    """
    limits = [
        int(text)
        for folder in _groups(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdigit()
    ]
    return min((limit for limit in limits if limit < _V1_UNLIMITED), default=None)


def affordable_bytes(setting: str, wanted: int, parts: int, root: Path = Path("/")) -> int:
    """Return at most `wanted` bytes, bounded by one part of the control groups' memory limit.

    Args:
        setting: The name of the setting that `wanted` comes from, for the log.
        wanted: How many bytes there should be.
        parts: Into how many parts the limit is divided, >= 1.
        root: Where /proc and /sys are.
    """
    group = memory_limit_bytes(root)
    if group is None or wanted <= group // parts:
        return wanted
    log.warning(
        "%s lowered to %s MiB by the control group's memory limit, %s MiB",
        *(setting, group // parts >> 20, group >> 20),
    )
    return group // parts


def usable_processors(root: Path = Path("/")) -> int:
    """Return how many processors can be kept busy, >= 1: a quota of 1.5 needs two of them.

    Args:
        root: Where /proc and /sys are.
    """
    quotas = [float(len(os.sched_getaffinity(0)))]
    for folder in _groups(root, "cpu"):
        words = _read(folder / "cpu.max").split()
        words = words or [_read(folder / f"cpu.cfs_{each}_us") for each in ("quota", "period")]
        if all(word.isdigit() and int(word) for word in words):  # not "max", and not "-1"
            quotas.append(int(words[0]) / int(words[1]))
    return max(1, math.ceil(min(quotas)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in ("", controller, controllers) if controllers else ("", "unified"):
            top = root / "sys/fs/cgroup" / mount
            folder = top / group.lstrip("/")
            # In a container the name may be that outside, where only the top is visible.
            while folder != top:
                yield folder
                folder = folder.parent
            yield top


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):  # not there, or not for us
        return ""
