"""Three hosts under load, of which one is killed or cut off and returns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import missing
from tests.support.servers import is_running
from tests.support.waiting import wait_until

BENCH = Path(__file__).parents[2] / "bench" / "scaling.py"
SECONDS = 2
DEADLINE_SECONDS = 240
CLIENTS = 8


@pytest.fixture
def scaling(program: Callable[[str], str]) -> list[str]:
    """Command that measures several hosts while one fails."""
    for name in ("ip", "haproxy"):
        program(name)
    if os.geteuid() != 0:
        missing("root, for hosts of its own")
    return [sys.executable, str(BENCH), "--seconds", str(SECONDS), "--faults-only"]


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a command, which must remove its hosts when it ends."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
            child.communicate()
    assert not hosts_of(child)


def hosts_of(child: "subprocess.Popen[str]") -> list[Path]:
    """Return the remaining files of the hosts that a command created."""
    folders = (Path("/run/netns"), Path("/etc/netns"))
    return [found for folder in folders for found in folder.glob(f"fib{child.pid}-*")]


def cmdline(process: psutil.Process) -> list[str]:
    """Return the command line of a process, [] if it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_host_fails(scaling: list[str], tmp_path: Path) -> None:
    """No response is wrong; fibclient loses none, HAProxy at most those in progress.

    In the end all hosts serve again.
    """
    report = tmp_path / "report.json"
    with running([*scaling, "--json", str(report)]) as child:
        output, _ = child.communicate(timeout=DEADLINE_SECONDS)
        assert child.returncode == 0, output
    rows = json.loads(report.read_text())["faults"]
    assert {row["fault"] for row in rows} == {"killed", "cut off"}
    assert len({row["arrangement"] for row in rows}) == 4
    for row in rows:
        assert row["requests"] > 50, row
        assert row["wrong"] == 0, row
        assert row["lost"] <= (CLIENTS if row["arrangement"] == "HAProxy, fibwebs" else 0), row
        assert row["serving"] == 3, row


def test_sigterm_removes_hosts(scaling: list[str]) -> None:
    """SIGTERM removes the hosts and ends the servers."""
    with running(scaling) as child:

        def servers() -> list[psutil.Process]:
            family = psutil.Process(child.pid).children(recursive=True)
            return [each for each in family if "fibserver" in cmdline(each)]

        wait_until(lambda: bool(servers()), "the hosts are there, and a server starts")
        assert len(hosts_of(child)) == 6
        started = servers()
        child.terminate()
        child.communicate(timeout=DEADLINE_SECONDS)
        assert child.returncode == 143
        assert not any(is_running(each) for each in started)
