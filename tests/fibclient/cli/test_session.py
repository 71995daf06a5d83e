"""How commands end: exit codes, and one line that says why."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fibclient.cli.running import COMMAND, Terminal, fibclient
from tests.fibclient.fakes import fake_server, in_turn
from tests.servers import RunningServer
from tests.waiting import DEADLINE_SECONDS


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["first", "99999999999"], 1),
        (["number", str(2**63 - 2)], 1),
        (["first", "-1"], 2),
        (["first", "ten"], 2),
        (["first", "1.5"], 2),
        (["first", ""], 2),
        (["first", "9" * 5000], 2),
        (["first", str(2**63)], 2),
        (["number", str(2**63 - 1)], 2),
        (["range", "5", "4"], 2),
        (["range", "0", str(2**63)], 2),
        (["first", "1", "--format", "array"], 2),
        (["first", "1", "--continue"], 2),
        (["--json", "first", "1", "--format", "csv"], 2),
        (["ping", "--count", "0"], 2),
        (["info", "nonsense"], 1),
        (["completion", "tcsh"], 2),
        (["frist", "10"], 2),
    ],
)
def test_exit_codes(server: RunningServer, arguments: list[str], code: int) -> None:
    """Each kind of failure has its exit code, and says why in one place."""
    done = fibclient("--server", server.address, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_bad_address() -> None:
    """An address that is none is a usage error."""
    assert fibclient("--server", "nonsense", "ping").returncode == 2


@pytest.mark.parametrize("n", ["10", "1000"])
def test_no_space_for_standard_output(server: RunningServer, n: str) -> None:
    """Standard output that cannot be written is exit code 1 and one line."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "--server", server.address, "first", n],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"fibclient: No space left on device\n"


@pytest.mark.parametrize("n", [5_000, 100_000])
def test_a_reader_that_has_seen_enough(server: RunningServer, n: int) -> None:
    """Output that nobody reads to its end is no error, however much of it there is."""
    ask = " ".join([*COMMAND, "--server", server.address, "first", str(n)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {ask} | head -n 1"],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")


@pytest.mark.parametrize("arguments", [["first", "10"], ["info"], ["ping"]])
def test_no_reader(server: RunningServer, arguments: list[str]) -> None:
    """A reader that has gone before the first byte is no error either."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, "--server", server.address, *arguments],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # what is buffered is the difficulty
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_interrupted() -> None:
    """SIGINT ends a command that waits for a server, silently, with 128 + 2."""
    with fake_server(in_turn(None)) as server:
        running = subprocess.Popen(
            [*COMMAND, "--server", server.address, "first", "10"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert server.was_asked.wait(DEADLINE_SECONDS)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=DEADLINE_SECONDS) == (b"", b"")
        assert running.returncode == 130


def test_interrupted_on_a_terminal() -> None:
    """Ctrl-C does so too, after some of the numbers have been shown."""
    with (
        fake_server(in_turn(b"$29\r\n0\n1\n1\n")) as server,
        Terminal("--server", server.address, "first", "12") as terminal,
    ):
        terminal.wait_for("F(2)   1\n")
        terminal.press("\x03")
        screen = terminal.wait()
    assert screen.code == 130
    assert screen.lines == ["F(0)   0", "F(1)   1", "F(2)   1", "^C"]
