"""`ping` with one server and with several."""

import json
import re

from tests.support.fake_server import fake_server, in_turn
from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer

NOBODY = "127.0.0.1:1"


def test_ping_prints_duration(server: RunningServer) -> None:
    """`ping` prints the duration of a round trip."""
    done = fibclient("--server", server.address, "ping")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"PONG in \d+\.\d{3} ms\n", done.stdout)


def test_ping_prints_json(server: RunningServer) -> None:
    """`--json` prints an object per line."""
    done = fibclient("--server", server.address, "--json", "ping", "--count", "3")
    trips = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trips) == 3
    for trip in trips:
        assert trip.keys() == {"server", "milliseconds"}
        assert trip["server"] == server.address
        assert trip["milliseconds"] > 0


def test_ping_count_prints_summary(server: RunningServer) -> None:
    """`--count` prints each round trip, and a summary."""
    *trips, summary = fibclient("--server", server.address, "ping", "--count", "5").stdout.split(
        "\n"
    )[:-1]
    assert len(trips) == 5
    assert all(trip.startswith("PONG in ") for trip in trips)
    number = r"\d+\.\d{3}"
    pattern = f"5 round trips: min {number}, median {number}, max {number} ms"
    assert re.fullmatch(pattern, summary)


def test_ping_of_unreachable_server() -> None:
    """An unreachable server gives exit code 3 and one line."""
    done = fibclient("--server", NOBODY, "ping")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"fibclient: cannot connect to {NOBODY}")
    assert done.stderr.count("\n") == 1


def test_ping_of_several_servers(server: RunningServer) -> None:
    """Each server has a line with its address; an unreachable one does not affect others."""
    done = fibclient("--server", f"{NOBODY},{server.address}", "ping")
    assert done.returncode == 3
    assert done.stdout.startswith(f"{server.address}  PONG in ")
    assert done.stderr.startswith(NOBODY)
    assert "cannot connect" in done.stderr
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (1, 1)


def test_ping_of_several_servers_prints_json(server: RunningServer) -> None:
    """In JSON, an unreachable server has an error in place of the time."""
    done = fibclient("--server", f"{NOBODY},{server.address}", "--json", "ping")
    assert (done.returncode, done.stderr) == (3, "")
    dead, alive = map(json.loads, done.stdout.splitlines())
    assert dead["server"] == NOBODY
    assert dead["error"].startswith("cannot connect")
    assert alive["server"] == server.address
    assert alive["milliseconds"] > 0


def test_ping_of_rejecting_server() -> None:
    """A server that replies with an error gives exit code 1, an unreachable one 3."""
    script = in_turn(b"-NOAUTH Authentication required.\r\n")
    with fake_server(script, answers_pings=False) as server:
        assert fibclient("--server", server.address, "ping").returncode == 1
        done = fibclient("--server", f"{server.address},{NOBODY}", "ping")
    assert done.returncode == 3
    refused, unreached = done.stderr.splitlines()
    assert refused.startswith(
        f"{server.address}  NOAUTH Authentication required. Pass the password"
    )
    assert unreached.endswith("; see `fibclient doctor`")


def test_json_error_of_single_server_is_a_message() -> None:
    """Of a single server, an error is an object on standard error, with its code."""
    done = fibclient("--server", NOBODY, "--json", "ping")
    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(done.stderr)["code"] == "unreachable"
