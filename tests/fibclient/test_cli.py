"""The `fibclient` command, as a shell runs it."""

import json
import subprocess
import sys

import pytest

from tests.numbers import expected
from tests.servers import DEADLINE_SECONDS, RunningServer


def fibclient(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    command = [sys.executable, "-m", "fibclient", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


def test_first(server: RunningServer) -> None:
    """`first N` prints a number a line."""
    done = fibclient("--server", server.address, "first", "500")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected("text", 0, 500).decode()


def test_first_as_json(server: RunningServer) -> None:
    """`--json first N` prints a JSON array of strings."""
    done = fibclient("--server", server.address, "--json", "first", "10")
    assert json.loads(done.stdout) == ["0", "1", "1", "2", "3", "5", "8", "13", "21", "34"]


def test_ping(server: RunningServer) -> None:
    """`ping` prints how long a round trip took."""
    assert fibclient("--server", server.address, "ping").stdout.startswith("PONG in ")
    done = fibclient("--server", server.address, "--json", "ping")
    assert json.loads(done.stdout)["milliseconds"] > 0


def test_broken_pipe(server: RunningServer) -> None:
    """Output that nobody reads to its end is no error."""
    command = f"{sys.executable} -m fibclient --server {server.address} first 5000 | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["first", "99999999999"], 1),
        (["first", "-1"], 2),
        (["first", "ten"], 2),
        (["frist", "10"], 2),
    ],
)
def test_exit_codes(server: RunningServer, arguments: list[str], code: int) -> None:
    """Each kind of failure has its exit code, and says why in one place."""
    done = fibclient("--server", server.address, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr


def test_unreachable() -> None:
    """A server out of reach is exit code 3 and one line."""
    done = fibclient("--server", "127.0.0.1:1", "ping")
    assert done.returncode == 3
    assert done.stderr.startswith("fibclient: cannot connect to 127.0.0.1:1")
    assert done.stderr.count("\n") == 1


def test_bad_address() -> None:
    """An address that is none is a usage error."""
    assert fibclient("--server", "nonsense", "ping").returncode == 2
