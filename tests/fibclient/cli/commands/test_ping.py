"""`ping`, for one server and for several."""

import json
import re

from tests.fibclient.cli.running import fibclient
from tests.fibclient.fakes import fake_server, in_turn
from tests.servers import RunningServer

NOBODY = "127.0.0.1:1"


def test_one(server: RunningServer) -> None:
    """`ping` prints how long a round trip took."""
    done = fibclient("--server", server.address, "ping")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"PONG in \d+\.\d{3} ms\n", done.stdout)


def test_json(server: RunningServer) -> None:
    """`--json` prints an object a line."""
    done = fibclient("--server", server.address, "--json", "ping", "--count", "3")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 3
    for answer in answers:
        assert answer.keys() == {"server", "milliseconds"}
        assert answer["server"] == server.address
        assert answer["milliseconds"] > 0


def test_count(server: RunningServer) -> None:
    """`--count` prints each round trip, and a summary."""
    *trips, summary = fibclient("--server", server.address, "ping", "--count", "5").stdout.split(
        "\n"
    )[:-1]
    assert len(trips) == 5
    assert all(trip.startswith("PONG in ") for trip in trips)
    number = r"\d+\.\d{3}"
    pattern = f"5 round trips: min {number}, median {number}, max {number} ms"
    assert re.fullmatch(pattern, summary)


def test_unreachable() -> None:
    """A server out of reach is exit code 3 and one line."""
    done = fibclient("--server", NOBODY, "ping")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"fibclient: cannot connect to {NOBODY}")
    assert done.stderr.count("\n") == 1


def test_several(server: RunningServer) -> None:
    """Each server has a line, its address first; one that is dead keeps no other from it."""
    done = fibclient("--server", f"{NOBODY},{server.address}", "ping")
    assert done.returncode == 3
    assert done.stdout.startswith(f"{server.address}  PONG in ")
    assert done.stderr.startswith(NOBODY)
    assert "cannot connect" in done.stderr
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (1, 1)


def test_several_as_json(server: RunningServer) -> None:
    """In JSON, an error stands where the time would."""
    done = fibclient("--server", f"{NOBODY},{server.address}", "--json", "ping")
    assert (done.returncode, done.stderr) == (3, "")
    dead, alive = map(json.loads, done.stdout.splitlines())
    assert dead["server"] == NOBODY
    assert dead["error"].startswith("cannot connect")
    assert alive["server"] == server.address
    assert alive["milliseconds"] > 0


def test_a_server_that_says_no() -> None:
    """A server that answers with an error is there: exit code 1."""
    script = in_turn(b"-NOAUTH Authentication required.\r\n")
    with fake_server(script, answers_pings=False) as server:
        assert fibclient("--server", server.address, "ping").returncode == 1
        done = fibclient("--server", f"{server.address},{NOBODY}", "ping")
    assert done.returncode == 3
    refused, unreached = done.stderr.splitlines()
    assert refused.startswith(f"{server.address}  NOAUTH Authentication required.; give the")
    assert unreached.endswith("; see `fibclient doctor`")
