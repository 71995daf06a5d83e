"""redis-benchmark, which ends a run at the first error reply."""

import subprocess
from collections.abc import Callable

import pytest

from tests.support.servers import RunningServer

TIMEOUT_SECONDS = 120


@pytest.mark.parametrize(
    "arguments",
    [
        ["FIB.FIRST", "10"],
        ["-P", "16", "FIB.FIRST", "10"],
        ["-r", "1000", "FIB.FIRST", "__rand_int__"],
        ["-r", "1000", "-P", "16", "FIB.NUMBER", "__rand_int__", "FORMAT", "json"],
        ["-t", "ping"],
        ["-t", "ping", "-P", "16"],
        ["-3", "FIB.FIRST", "10"],
        ["-3", "-P", "16", "-t", "ping"],
        ["--threads", "2", "FIB.NUMBER", "1000"],
        ["--dbnum", "0", "-k", "0", "FIB.NUMBER", "7"],
    ],
    ids=" ".join,
)
def test_runs_to_the_end(
    program: Callable[[str], str], server: RunningServer, arguments: list[str]
) -> None:
    """All requests of a run are answered without an error."""
    done = subprocess.run(
        [program("redis-benchmark"), "-p", str(server.port), "-n", "2000", "--csv", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "error" not in output.lower()
    assert '"test","rps"' in output
    assert len(done.stdout.splitlines()) >= 2, output  # the heading, and what was measured
