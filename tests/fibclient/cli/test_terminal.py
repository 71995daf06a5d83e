"""Closed streams and dumb terminals."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fibclient_command import COMMAND, Terminal, on_terminal
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS


def closed(server: RunningServer, arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a shell, whose redirections can close streams."""
    command = " ".join([*COMMAND, "--server", server.address, arguments])
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "command", ["first 5", "first 3000", "info", "ping", "top --count 1", "--help", "doctor"]
)
def test_closed_standard_output_fails(server: RunningServer, command: str) -> None:
    """A command that cannot print gives exit code 1 and one line."""
    done = closed(server, f"{command} >&-")
    assert (done.returncode, done.stderr) == (1, "fibclient: Bad file descriptor\n")


def test_output_to_file_without_streams(server: RunningServer, tmp_path: Path) -> None:
    """Without any stream, output to a file is complete."""
    path = tmp_path / "numbers"
    done = closed(server, f"first 5 --output {path} <&- >&- 2>&-")
    assert done.returncode == 0
    assert path.read_text() == "0\n1\n1\n2\n3\n"


@pytest.mark.parametrize("missing", ["2>&-", "<&-", "<&- 2>&-"])
def test_output_without_input_or_error_stream(server: RunningServer, missing: str) -> None:
    """Without standard input or error, the output is the same."""
    done = closed(server, f"first 5 {missing}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n1\n2\n3\n", "")
    assert closed(server, f"top --count 1 --interval 0.1 {missing}").returncode == 0
    assert closed(server, f"first x {missing}").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["first", "20000", "--format", "text", "--output", "/dev/null"],
        ["range", "3000", "3003"],
        ["info", "all"],
        ["doctor"],
        ["top", "--count", "1", "--interval", "0.1"],
        ["bench", "--requests", "100"],
        ["verify", "20000"],
    ],
)
@pytest.mark.parametrize("term", ["", "dumb"])
def test_dumb_terminal_gets_plain_text(
    server: RunningServer, arguments: list[str], term: str
) -> None:
    """A dumb or unknown terminal gets plain text."""
    screen = on_terminal("--server", server.address, *arguments, term=term)
    assert screen.code == 0
    assert "\x1b" not in screen.raw
    assert bool(screen.text) == ("--output" not in arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["range", "3000", "3003"],
        ["info", "all"],
        ["doctor"],
        ["top", "--count", "1", "--interval", "0.1"],
        ["bench", "--requests", "100"],
        ["verify", "20000"],
    ],
)
def test_unencodable_characters_are_replaced(server: RunningServer, arguments: list[str]) -> None:
    """Characters that cannot be encoded are replaced."""
    screen = on_terminal("--server", server.address, *arguments, PYTHONIOENCODING="ascii")
    assert screen.code == 0
    assert screen.text
    assert screen.raw.isascii()
    assert "Traceback" not in screen.text


@pytest.mark.parametrize(
    "arguments",
    [
        ["first", "20000", "-f", "text"],
        ["verify", "20000"],
        ["bench", "--requests", "100"],
        ["doctor"],
    ],
)
def test_no_progress_beside_another_command(server: RunningServer, arguments: list[str]) -> None:
    """Nothing is drawn on the terminal of a command that reads the output, such as a pager."""
    reading, writing = os.pipe()
    with (
        open(reading, "rb") as pipe,
        open(writing, "wb") as stdout,
        Terminal("-s", server.address, *arguments, stdout=stdout) as terminal,
        ThreadPoolExecutor() as threads,
    ):
        stdout.close()
        output = threads.submit(pipe.read)
        screen = terminal.wait()
        assert (screen.code, screen.raw) == (0, "")
        assert output.result(DEADLINE_SECONDS)
