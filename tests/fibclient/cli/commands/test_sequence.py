"""`first`, `range` and `number` without a terminal."""

import json
import subprocess

import pytest

from tests.support.expected import digits, expected
from tests.support.fibclient_command import COMMAND, fibclient
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS

FORMATS = ["text", "csv", "ndjson", "bfile", "binary"]


def output(server: RunningServer, *arguments: str) -> bytes:
    """Return the output of the command."""
    done = subprocess.run(
        [*COMMAND, "--server", server.address, *arguments],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_sequence_default_is_text(server: RunningServer) -> None:
    """Without options, all digits are printed, one number per line."""
    assert output(server, "first", "500") == expected("text", 0, 500)
    assert output(server, "range", "490", "500") == expected("text", 490, 500)
    assert output(server, "number", "499") == expected("text", 499, 500)
    assert output(server, "number", "499", "--full") == expected("text", 499, 500)


@pytest.mark.parametrize("format", FORMATS)
def test_output_is_bytes_of_format(server: RunningServer, format: str) -> None:
    """The output is exactly the bytes of the format."""
    assert output(server, "first", "300", "--format", format) == expected(format, 0, 300)
    assert output(server, "range", "7", "300", "--format", format) == expected(format, 7, 300)
    assert output(server, "number", "300", "--format", format) == expected(format, 300, 301)


@pytest.mark.parametrize("format", [*FORMATS, None])
def test_sequence_without_numbers_prints_nothing(
    server: RunningServer, format: str | None
) -> None:
    """Without numbers there is no output."""
    options = [] if format is None else ["--format", format]
    assert output(server, "first", "0", *options) == b""
    assert output(server, "range", "9", "9", *options) == b""


@pytest.mark.parametrize("n", [0, 1, 400])
def test_sequence_prints_json(server: RunningServer, n: int) -> None:
    """`--json` and `--format json` print a JSON array of strings, and a newline."""
    by_format = output(server, "first", str(n), "--format", "json")
    assert by_format.endswith(b"]\n")
    assert json.loads(by_format) == digits(0, n)
    assert output(server, "--json", "first", str(n)) == by_format
    assert json.loads(output(server, "--json", "range", "3", str(n + 3))) == digits(3, n + 3)


def test_json_of_one_number(server: RunningServer) -> None:
    """`--format json` prints the number as a string; `--json` adds its index."""
    value = digits(100, 101)[0]
    assert output(server, "number", "100", "--format", "json") == f'"{value}"\n'.encode()
    assert json.loads(output(server, "--json", "number", "100")) == {"n": 100, "value": value}
    both = output(server, "--json", "number", "100", "--format", "json")
    assert json.loads(both) == {"n": 100, "value": value}


def test_rejected_request_prints_nothing(server: RunningServer) -> None:
    """A rejected request prints nothing, not even the opening bracket."""
    done = fibclient("--server", server.address, "--json", "first", "99999999999")
    assert (done.returncode, done.stdout) == (1, "")
    message = json.loads(done.stderr)
    assert (message["code"], message["server"]) == ("LIMIT", server.address)


@pytest.mark.parametrize("command", ["first", "range", "number"])
def test_sequence_help_has_examples(command: str) -> None:
    """The help has examples."""
    text = fibclient(command, "--help").stdout
    assert "Examples:\n    fibclient" in text
    assert "last 8 KiB" in " ".join(text.split())  # that is all that --continue compares
