"""Values on the command line, and what is said of those that are none."""

from pathlib import Path

import click
import pytest

from fibclient.cli.options import MOST, OutputFile, Seconds, WholeNumber
from tests.fibclient.cli.running import fibclient
from tests.servers import RunningServer


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), (str(MOST), MOST)])
def test_whole_numbers(text: str, number: int) -> None:
    """A whole number that a server may have is one."""
    assert WholeNumber().convert(text, None, None) == number


@pytest.mark.parametrize("text", ["", "abc", "1.5", "-1", "nan", str(MOST + 1), "9" * 5000])
def test_no_whole_numbers(text: str) -> None:
    """What is none is told in a line that is not too long."""
    with pytest.raises(click.BadParameter, match=f"is no whole number from 0 to {MOST}$") as error:
        WholeNumber().convert(text, None, None)
    assert len(error.value.message) < 100


@pytest.mark.parametrize("text", ["0.1", "60", "31622400"])
def test_seconds(text: str) -> None:
    """A time that can be waited for is one."""
    assert Seconds(least=0.1).convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "0", "-1", "0.09", "1e9", "soon"])
def test_no_seconds(text: str) -> None:
    """No other is: neither too short, nor too long, nor no number."""
    with pytest.raises(click.BadParameter):
        Seconds(least=0.1).convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "0"])
@pytest.mark.parametrize(
    "arguments", [["--timeout={}", "ping"], ["top", "--interval={}"], ["bench", "--seconds={}"]]
)
def test_wherever_seconds_are_said(text: str, arguments: list[str]) -> None:
    """Each option for seconds refuses what is none."""
    done = fibclient(*(argument.format(text) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is out of range" in done.stderr


def test_output_files() -> None:
    """A dash is as if no file had been named, and a name that is empty is none."""
    assert OutputFile().convert("numbers", None, None) == Path("numbers")
    assert OutputFile().convert("-", None, None) is None
    with pytest.raises(click.BadParameter, match="empty"):
        OutputFile().convert("", None, None)


def test_output_to_a_dash(server: RunningServer) -> None:
    """`--output -` prints to standard output."""
    done = fibclient("--server", server.address, "first", "3", "--output", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n1\n", "")
    assert fibclient("first", "3", "--output", "").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["first", "abc"], "'abc' is no whole number from 0"),
        (["first", "-5"], "'-5' is no whole number from 0"),
        (["range", "--full", "0", "-1000"], "'-1000' is no whole number from 0"),
        (["number", "-7", "--format", "csv"], "'-7' is no whole number from 0"),
        (["verify", "-3"], "'-3' is no whole number from 0"),
        (["bench", "--first", "0"], "'0' is no whole number from 1"),
        (["first", "--frist", "5"], "No such option"),
        (["first", "-x", "5"], "No such option"),
    ],
)
def test_what_is_said(arguments: list[str], words: str) -> None:
    """Numbers that are none are told as such, and slips in options as options."""
    done = fibclient(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]
