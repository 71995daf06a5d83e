"""`digits`, `mod` and `index`."""

import json

import pytest

from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer


def output(server: RunningServer, *arguments: str) -> str:
    """Return the output of the command."""
    done = fibclient("--server", server.address, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_digits(server: RunningServer) -> None:
    """The number of digits, the first and the last ones are printed, as strings in JSON."""
    assert output(server, "digits", "1000", "--first", "5", "--last", "4") == (
        "digits  209\nfirst   43466\nlast    8875\n"
    )
    found = json.loads(output(server, "--json", "digits", str(10**100)))
    assert found["n"] == str(10**100)
    assert found["digits"].startswith("20898764024997873376")
    assert found["first"] == "62449911286460687648"


def test_table_of_digits(server: RunningServer) -> None:
    """Several numbers are a table with a heading, or a list in JSON; none are nothing."""
    assert output(server, "digits", "9", "--first", "3", "--last", "2", "--count", "9") == (
        "n   digits  first  last\n"
        "9   2       34     34\n"
        "10  2       55     55\n"
        "11  2       89     89\n"
        "12  3       144    44\n"
        "13  3       233    33\n"
        "14  3       377    77\n"
        "15  3       610    10\n"
        "16  3       987    87\n"
        "17  4       159    97\n"
    )
    found = json.loads(output(server, "--json", "digits", "7", "--count", "1"))
    assert found == [{"n": "7", "digits": "2", "first": "13", "last": "13"}]
    assert output(server, "digits", "7", "--count", "0") == ""
    assert json.loads(output(server, "--json", "digits", "7", "--count", "0")) == []


def test_mod(server: RunningServer) -> None:
    """The remainder is printed."""
    assert output(server, "mod", "1000", "10000") == "8875\n"
    assert json.loads(output(server, "--json", "mod", "7", "10")) == {
        "n": "7",
        "m": "10",
        "remainder": "3",
    }


def test_index(server: RunningServer) -> None:
    """The index, the neighbours and the Zeckendorf sum are printed."""
    assert output(server, "index", "1") == (
        "indices     1 2\nbelow       0\nabove       3\nzeckendorf  2\n"
    )
    assert output(server, "index", "100") == (
        "indices     -\nbelow       11\nabove       12\nzeckendorf  11 6 4\n"
    )
    assert json.loads(output(server, "--json", "index", "0")) == {
        "x": "0",
        "indices": [0],
        "below": None,
        "above": 1,
        "zeckendorf": [],
    }
    assert output(server, "index", "--digits", "1000") == "4782\n"
    found = json.loads(output(server, "--json", "index", "--digits", "1000"))
    assert found == {"digits": "1000", "index": "4782"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["digits", "x"],
            "'x' is not a whole number in range: it must be at least 0 and below 10",
        ),
        (["digits", "5", "--first", "1001"], "it must be between 0 and 1000"),
        (["digits", str(10**1000)], "it must be at least 0 and below 10^1000"),
        (["mod", "5", "0"], "it must be at least 1 and below 10^1000"),
        (["mod", "5", "-1"], "'-1' is not a whole number"),
        (["index", "9" * 4001], "it must be at least 0 and have at most 4000 digits"),
        (["index", "9" * 5000], "it must be at least 0 and have at most 4000 digits"),
        (["index"], "X is missing: give a number, or --digits D instead"),
        (["index", "5", "--digits", "5"], "X and --digits cannot be combined: give one of them"),
    ],
    ids=range(9),
)
def test_usage(arguments: list[str], message: str) -> None:
    """Arguments out of range are usage errors that name the bound."""
    done = fibclient("--server", "127.0.0.1:1", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", "").split())
