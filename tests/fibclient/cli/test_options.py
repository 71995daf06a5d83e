"""Parameter types and their error messages."""

from pathlib import Path

import click
import pytest

from fibclient.cli.options import MAX_INDEX, OutputFile, Seconds, WholeNumber
from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), (str(MAX_INDEX), MAX_INDEX)])
def test_whole_numbers_in_range_are_accepted(text: str, number: int) -> None:
    """Whole numbers in range are accepted."""
    assert WholeNumber().convert(text, None, None) == number


@pytest.mark.parametrize("text", ["", "abc", "1.5", "-1", "nan", str(MAX_INDEX + 1), "9" * 5000])
def test_invalid_whole_numbers_are_rejected(text: str) -> None:
    """Other values are rejected with a message of limited length."""
    pattern = f"is not a whole number from 0 to {MAX_INDEX}$"
    with pytest.raises(click.BadParameter, match=pattern) as error:
        WholeNumber().convert(text, None, None)
    assert len(error.value.message) < 100


@pytest.mark.parametrize("text", ["0.1", "60", "31622400"])
def test_durations_in_range_are_accepted(text: str) -> None:
    """Durations in range are accepted."""
    assert Seconds(minimum=0.1).convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "0", "-1", "0.09", "1e9", "soon"])
def test_invalid_durations_are_rejected(text: str) -> None:
    """Durations out of range and values that are not numbers are rejected."""
    with pytest.raises(click.BadParameter):
        Seconds(minimum=0.1).convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "0"])
@pytest.mark.parametrize(
    "arguments", [["--timeout={}", "ping"], ["top", "--interval={}"], ["bench", "--seconds={}"]]
)
def test_each_option_in_seconds_has_a_range(text: str, arguments: list[str]) -> None:
    """Each option in seconds rejects values out of range."""
    done = fibclient(*(argument.format(text) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is out of range" in done.stderr


def test_output_file_names() -> None:
    """A dash means standard output, and an empty name is rejected."""
    assert OutputFile().convert("numbers", None, None) == Path("numbers")
    assert OutputFile().convert("-", None, None) is None
    with pytest.raises(click.BadParameter, match="empty"):
        OutputFile().convert("", None, None)


def test_output_to_dash_is_standard_output(server: RunningServer) -> None:
    """`--output -` prints to standard output."""
    done = fibclient("--server", server.address, "first", "3", "--output", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n1\n", "")
    assert fibclient("first", "3", "--output", "").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["first", "abc"], "'abc' is not a whole number from 0"),
        (["first", "-5"], "for 'N': '-5' is not a whole number from 0 to "),
        (["index", "-1"], "for '[X]': '-1' is not a whole number in range: it must be at least 0"),
        (
            ["mod", "5", "-1"],
            "for 'M': '-1' is not a whole number in range: it must be at least 1",
        ),
        (["first", "3", "-h5"], "No such option '-5'"),
        (["range", "--full", "0", "-1000"], "'-1000' is not a whole number from 0"),
        (["number", "-7", "--format", "csv"], "'-7' is not a whole number from 0"),
        (["verify", "-3"], "'-3' is not a whole number from 0"),
        (["bench", "--first", "0"], "'0' is not a whole number from 1"),
        (["first", "--frist", "5"], "No such option"),
        (["first", "-x", "5"], "No such option"),
    ],
)
def test_error_messages_differ(arguments: list[str], text: str) -> None:
    """Invalid numbers and unknown options have different messages."""
    done = fibclient(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr.splitlines()[-1]
