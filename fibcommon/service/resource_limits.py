"""Memory and processors available to this process, within the limits of its control groups.

Containers and systemd's MemoryMax and CPUQuota set limits on a control group, version 1 or 2. The
limits of all parent groups apply as well.
"""

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["affordable_bytes", "memory_limit_bytes", "usable_processors"]

log = logging.getLogger(__name__)

_V1_UNLIMITED = 1 << 60
"""Version 1 reports no limit as a huge number, the largest multiple of a page."""


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory limit of the control groups, /dev/shm included; None without a limit.

    Args:
        root: Directory that contains proc and sys.
    """
    limits = [
        int(text)
        for folder in _groups(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdigit()
    ]
    return min((limit for limit in limits if limit < _V1_UNLIMITED), default=None)


def affordable_bytes(setting: str, wanted: int, parts: int, root: Path = Path("/")) -> int:
    """Return `wanted`, lowered to a share of the memory limit of the control groups.

    Args:
        setting: Name of the setting that `wanted` comes from, for the log.
        wanted: Configured number of bytes.
        parts: Number of equal shares of the limit, >= 1.
        root: Directory that contains proc and sys.
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
    """Return the number of usable processors, >= 1; a quota of 1.5 counts as two.

    Args:
        root: Directory that contains proc and sys.
    """
    quotas = [float(len(os.sched_getaffinity(0)))]
    for folder in _groups(root, "cpu"):
        texts = _read(folder / "cpu.max").split()
        texts = texts or [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if all(text.isdigit() and int(text) for text in texts):  # not "max", and not "-1"
            quotas.append(int(texts[0]) / int(texts[1]))
    return max(1, math.ceil(min(quotas)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the directories of this process's control group and of its parents."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in ("", controller, controllers) if controllers else ("", "unified"):
            top = root / "sys/fs/cgroup" / mount
            folder = top / group.lstrip("/")
            # In a container the path may be that on the host, while only the top is mounted.
            while folder != top:
                yield folder
                folder = folder.parent
            yield top


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):  # it is missing or not readable
        return ""
