"""The `fibserver` command: starts that fail."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fibclient import FibClient
from tests.servers import DEADLINE_SECONDS, RunningServer


def run_fibserver(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where it is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "fibserver", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--workers", "0"], {}, "workers: '0': "),
        (["--listen", "nowhere"], {}, "listen: "),
        (["--listen", "0.0.0.0:0"], {}, "listen: '0.0.0.0:0': can be reached from other machines"),
        (["--log-level", "loud"], {}, "log_level: 'loud': "),
        ([], {"FIBSERVER_MEMORY_LIMIT": "many"}, "memory_limit: 'many': "),
        ([], {"FIBSERVER_IDLE_TIMEOUT": "-1"}, "idle_timeout: '-1': "),
        (
            ["--listen", "unix:/nowhere/socket"],
            {},
            "cannot listen on unix:/nowhere/socket: No such",
        ),
    ],
)
def test_bad_settings(arguments: list[str], environment: dict[str, str], message: str) -> None:
    """A bad setting stops the start with one line that names it, and a code of its own."""
    done = run_fibserver(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fibserver: {message}")
    assert done.stderr.count("\n") == 1


def test_several_bad_settings() -> None:
    """Each bad setting has a line."""
    done = run_fibserver("--workers", "0", "--log-level", "loud", FIBSERVER_MAX_INDEX="-1")
    assert done.returncode == 2
    names = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert sorted(names) == ["log_level", "max_index", "workers"]


def test_an_address_in_use(server: RunningServer) -> None:
    """An address that another server has is a failed start."""
    done = run_fibserver("--listen", server.address)
    assert done.returncode == 2
    assert done.stderr == f"fibserver: cannot listen on {server.address}: Address already in use\n"


def test_a_stale_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The socket file of a killed server does not stop the next start; a live one's does."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop(9)
    assert (tmp_path / "socket").exists()
    serve("--listen", address)
    assert run_fibserver("--listen", address).returncode == 2
    with FibClient(address) as client:
        client.ping()
