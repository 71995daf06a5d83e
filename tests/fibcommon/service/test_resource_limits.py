"""Limits of control groups, read from directory trees like those of the kernel."""

import os
from pathlib import Path

import pytest

from fibcommon.service.resource_limits import (
    affordable_bytes,
    memory_limit_bytes,
    usable_processors,
)

MIB = 1024**2
UNLIMITED = "9223372036854771712"


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on four processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})


def limits(root: Path, groups: str, **files: str) -> tuple[int | None, int]:
    """Return memory in MiB and processors; two underscores in a name mean a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        *folders, last = name.split("__")
        path = root.joinpath("sys/fs/cgroup", *folders, last.replace("_", ".", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    memory = memory_limit_bytes(root)
    return memory and memory // MIB, usable_processors(root)


def test_machine_counts_without_limits(tmp_path: Path) -> None:
    """Without limits or control groups the machine's values count."""
    assert limits(tmp_path / "a", "0::/\n", a__memory_max="max") == (None, 4)
    assert (memory_limit_bytes(tmp_path), usable_processors(tmp_path)) == (None, 4)


def test_lowest_limit_of_cgroup_v2_applies(tmp_path: Path) -> None:
    """The lowest limit of a group and its parents applies."""
    found = limits(
        tmp_path,
        "0::/a/b\n",
        memory_max="max",
        a__memory_max=str(300 * MIB),
        a__b__memory_max=str(400 * MIB),
        a__cpu_max="150000 100000",
        a__b__cpu_max="max 100000",
    )
    assert found == (300, 2)


def test_limits_of_cgroup_v1(tmp_path: Path) -> None:
    """In version 1 each controller has a tree; a huge number means no limit."""
    found = limits(
        tmp_path,
        "4:memory:/a\n2:cpu,cpuacct:/a\n1:name=systemd:/x\n",
        memory__memory_limit_in_bytes=UNLIMITED,
        memory__a__memory_limit_in_bytes=str(200 * MIB),
        **{"cpu,cpuacct__cpu_cfs_quota_us": "-1", "cpu,cpuacct__cpu_cfs_period_us": "100000"},
        **{
            "cpu,cpuacct__a__cpu_cfs_quota_us": "50000",
            "cpu,cpuacct__a__cpu_cfs_period_us": "100000",
        },
    )
    assert found == (200, 1)


def test_cgroup_path_of_the_host(tmp_path: Path) -> None:
    """In a container the path may be that on the host, while only the top is mounted."""
    found = limits(tmp_path, "4:memory:/docker/1\n", memory__memory_limit_in_bytes=str(64 * MIB))
    assert found == (64, 4)


def test_setting_is_lowered_to_share_of_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting is lowered to its share of the limit with a warning; without a limit it stays."""
    assert affordable_bytes("cache_bytes", 64 * MIB, 4, tmp_path) == 64 * MIB
    limits(tmp_path, "0::/\n", memory_max=str(100 * MIB))
    assert affordable_bytes("cache_bytes", 25 * MIB, 4, tmp_path) == 25 * MIB
    assert not caplog.records
    assert affordable_bytes("cache_bytes", 26 * MIB, 4, tmp_path) == 25 * MIB
    assert caplog.messages == [
        "cache_bytes lowered to 25 MiB by the control group's memory limit, 100 MiB"
    ]
