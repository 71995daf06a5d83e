"""redis-cli, interactive and in scripts."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.support.expected import fibonacci
from tests.support.servers import RunningServer

TIMEOUT_SECONDS = 60

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def redis_cli(program: Callable[[str], str], server: RunningServer) -> Run:
    """Run redis-cli against the shared server."""
    path = program("redis-cli")

    def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [path, "-p", str(server.port), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    return run


@pytest.mark.parametrize("options", [[], ["-3"], ["-n", "0"], ["-2"]])
def test_prints_the_first_numbers_on_lines(redis_cli: Run, options: list[str]) -> None:
    """A request on the command line prints each number on a line, in both protocols."""
    done = redis_cli(*options, "FIB.FIRST", "10")
    assert (done.stdout, done.stderr) == ("0\n1\n1\n2\n3\n5\n8\n13\n21\n34\n", "")
    assert done.returncode == 0


def test_json_output_is_an_array_of_strings(redis_cli: Run) -> None:
    """--json, which switches to RESP3, prints the numbers as strings."""
    done = redis_cli("--json", "FIB.FIRST", "200")
    assert json.loads(done.stdout) == [str(number) for number in fibonacci(0, 200)]
    assert done.stderr == ""


def test_large_number_is_exact(redis_cli: Run) -> None:
    """A number of 209 digits is printed completely."""
    assert redis_cli("FIB.NUMBER", "1000").stdout == f"{fibonacci(0, 1001)[1000]}\n"


def test_large_reply_is_valid_json(redis_cli: Run) -> None:
    """The json format of 5,000 numbers is valid JSON within brackets."""
    done = redis_cli("FIB.FIRST", "5000", "FORMAT", "json")
    assert json.loads(f"[{done.stdout}]") == [str(number) for number in fibonacci(0, 5000)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FIB.FIRST", "x"], "ERR n is 'x': give a whole number from 0 on, in digits only"),
        (["FIB.FIRST"], "ERR wrong number of arguments for 'fib.first' command"),
        (["FIB.LAST", "5"], "ERR unknown command 'FIB.LAST', with args beginning with: '5'"),
        (["FIB.NUMBER", "10000001"], "LIMIT F(10000001) is too large: max_index is"),
    ],
)
def test_error_is_printed(redis_cli: Run, words: list[str], message: str) -> None:
    """The error of a rejected request is printed; with -e redis-cli fails."""
    plain, strict = redis_cli(*words), redis_cli("-e", *words)
    assert plain.stdout.startswith(message)
    assert plain.returncode == 0
    assert strict.stderr.startswith(message)
    assert strict.returncode == 1


def test_other_database_is_rejected(redis_cli: Run) -> None:
    """Only database 0 exists; redis-cli prints the error for others."""
    assert "DB index is out of range" in redis_cli("-n", "1", "PING").stderr


def test_interactive_mode_prints_replies_line_by_line(redis_cli: Run) -> None:
    """Interactive commands are answered one by one, also after an error."""
    done = redis_cli(stdin="fib.first 3\nFIB.FIRST -1\nFIB.NUMBER 7\nping\nquit\n")
    assert done.returncode == 0, done.stderr  # an unexpected COMMAND DOCS makes it abort
    lines = [line for line in done.stdout.split("\n") if line]
    assert lines == [
        *"011",
        "ERR n is '-1': give a whole number from 0 on, in digits only",
        "13",
        "PONG",
    ]


def test_help_shows_the_arguments(redis_cli: Run) -> None:
    """`help` at the prompt shows our commands, from COMMAND DOCS."""
    done = redis_cli(stdin="help fib.first\nhelp @sequence\n")
    assert done.returncode == 0, done.stderr
    assert "n [FORMAT format]" in done.stdout
    assert "Returns the first n Fibonacci numbers." in done.stdout
    assert "start stop [FORMAT format]" in done.stdout


def test_repeats_a_command(redis_cli: Run) -> None:
    """-r repeats a request on the same connection."""
    assert redis_cli("-r", "3", "FIB.NUMBER", "10").stdout == "55\n55\n55\n"


def test_pipe_mode_completes(redis_cli: Run) -> None:
    """--pipe sends raw requests, and ends at the reply to its own ECHO."""
    done = redis_cli("--pipe", stdin="FIB.FIRST 3\r\n" * 1000 + "FIB.NUMBER 100\r\n")
    assert "errors: 0, replies: 1001" in done.stdout
    assert done.returncode == 0


def test_pipe_mode_counts_errors(redis_cli: Run) -> None:
    """--pipe counts a rejected request, and continues after it."""
    done = redis_cli("--pipe", stdin="PING\r\nFIB.FIRST x\r\nPING\r\n")
    assert "errors: 1, replies: 3" in done.stdout
    assert done.returncode == 1


def test_latency_mode_measures(redis_cli: Run) -> None:
    """--latency sends PING for a second and prints minimum, maximum, average and count."""
    *_, count = redis_cli("--latency").stdout.split()
    assert int(count) > 0
