"""`first`, `range` and `number` on a terminal."""

import pytest

from tests.support.expected import digits, expected
from tests.support.fibclient_command import on_terminal
from tests.support.servers import RunningServer


def test_each_number_has_a_line(server: RunningServer) -> None:
    """Each number follows its name, which is dim."""
    screen = on_terminal("--server", server.address, "range", "8", "11")
    assert screen.code == 0
    assert screen.lines == ["F(8)   21", "F(9)   34", "F(10)  55"]
    assert screen.raw.startswith("\x1b[2mF(8)   \x1b[0m21\r\n")


@pytest.mark.parametrize("columns", [60, 140])
def test_long_number_has_width_of_terminal(server: RunningServer, columns: int) -> None:
    """A long number takes exactly the width of the terminal."""
    screen = on_terminal("--server", server.address, "number", "5000", columns=columns)
    (line,) = screen.lines
    assert len(line) == columns
    assert line.startswith("F(5000)  38789684543883")
    assert line.endswith("  1,045 digits")


def test_numbers_are_plain_on_dumb_terminal(server: RunningServer) -> None:
    """A dumb terminal, or one with NO_COLOR, gets plain text."""
    arguments = ["--server", server.address, "first", "2"]
    for screen in (on_terminal(*arguments, term="dumb"), on_terminal(*arguments, NO_COLOR="1")):
        assert screen.raw == "F(0)  0\r\nF(1)  1\r\n"


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (["number", "1000", "--full"], digits(1000, 1001)[0] + "\n"),
        (["first", "3", "--format", "text"], "0\n1\n1\n"),
        (["first", "20", "--format", "csv"], expected("csv", 0, 20).decode()),
        (["first", "3", "--format", "json"], '["0","1","1"]\n'),
    ],
)
def test_full_and_format_print_all_bytes(
    server: RunningServer, options: list[str], output: str
) -> None:
    """`--full` and `--format` print all bytes, even on a terminal."""
    screen = on_terminal("--server", server.address, *options)
    assert (screen.code, screen.text) == (0, output)


def test_numbers_are_json_on_terminal(server: RunningServer) -> None:
    """`--json` prints JSON, even on a terminal."""
    screen = on_terminal("--server", server.address, "--json", "number", "7")
    assert (screen.code, screen.text) == (0, '{"n": 7, "value": "13"}\n')


def test_binary_to_terminal_is_rejected(server: RunningServer) -> None:
    """Binary output to a terminal is rejected, as it could contain control codes."""
    screen = on_terminal("--server", server.address, "first", "3", "--format", "binary")
    assert screen.code == 2
    assert screen.lines[-1] == "Error: binary cannot be printed on a terminal: use --output FILE"
