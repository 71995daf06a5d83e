"""`bench` as a command."""

import json

import pytest

from fibcommon.formats import FORMATS
from tests.support.fake_server import HangUp, fake_server, in_turn
from tests.support.fibclient_command import Terminal, fibclient, on_terminal
from tests.support.servers import RunningServer

LATENCIES = ["p50", "p90", "p99", "p99.9", "max"]
REPLY = b"$4\r\n0\n1\n\r\n"
"""The first two numbers as text."""
TWO = ("bench", "--first", "2", "--format", "text")


def test_bench_prints_json(server: RunningServer) -> None:
    """`--json` prints all results as an object."""
    done = fibclient("--server", server.address, "--json", "bench", "--requests", "300")
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert (figures["requests"], figures["failed"], figures["failures"]) == (300, 0, {})
    assert figures["requests_per_second"] > 0
    assert figures["megabytes_per_second"] > 0
    latencies = figures["latency_ms"]
    assert list(latencies) == LATENCIES
    assert 0 < latencies["p50"] <= latencies["p99"] <= latencies["max"]


def test_bench_prints_lines_without_terminal(server: RunningServer) -> None:
    """Without a terminal or --json, each result is a line."""
    done = fibclient("--server", server.address, "bench", "--requests", "50", "--threads", "3")
    figures = dict(line.split(": ") for line in done.stdout.splitlines())
    assert figures["requests"] == "50"
    assert figures["failed"] == "0"
    assert float(figures["latency_ms.p99"]) > 0


def test_bench_requests_first_numbers() -> None:
    """Each request is for the first numbers in the chosen format."""
    with fake_server(in_turn(REPLY)) as fake:
        done = fibclient("--server", fake.address, *TWO, "--requests", "20", "--threads", "2")
        assert done.returncode == 0
        assert fake.requests == [[b"FIB.RANGE", b"0", b"2", b"FORMAT", b"text"]] * 20
        assert fake.connections <= 1 + 2  # the first one checks that a server is reachable


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "array"])
def test_bench_stops_after_seconds(server: RunningServer, format: str) -> None:
    """The load stops after the given time, in every format."""
    arguments = ("bench", "--seconds", "0.2", "--format", format)
    done = fibclient("--server", server.address, "--json", *arguments)
    figures = json.loads(done.stdout)
    assert figures["requests"] > 0
    assert figures["seconds"] >= 0.2


def test_failures_are_counted() -> None:
    """Failures are counted by kind and do not stop the load; any gives exit code 1."""
    busy, misbehaved = b"-BUSY later\r\n", b"$5\r\n0\n1\n\n\r\n"
    with fake_server(in_turn(REPLY, busy, busy, misbehaved, HangUp(), REPLY)) as server:
        arguments = (*TWO, "--requests", "10", "--threads", "1")
        done = fibclient("--server", server.address, "--json", *arguments)
    figures = json.loads(done.stdout)
    assert done.returncode == 1
    assert figures["requests"] == 10
    assert figures["failures"].pop("BUSY") == 2
    assert figures["failures"].pop("misbehaved") == 1
    assert set(figures["failures"]) <= {"unreachable"}


def test_bench_without_success_has_no_latencies(server: RunningServer) -> None:
    """If every request fails, there are no latencies."""
    arguments = ("bench", "--first", "99999999999", "--requests", "5")
    done = fibclient("--server", server.address, "--json", *arguments)
    figures = json.loads(done.stdout)
    assert done.returncode == 1
    assert figures["failures"] == {"LIMIT": 5}
    assert figures["latency_ms"] == {}


def test_bench_on_terminal_shows_table(server: RunningServer) -> None:
    """A terminal shows a table."""
    screen = on_terminal("--server", server.address, "bench", "--requests", "100")
    assert screen.code == 0
    for text in ("requests", "failed", "rate", "output", "latency p99.9", "100 in "):
        assert text in screen.text


def test_interrupted_bench_prints_results(server: RunningServer) -> None:
    """Ctrl-C stops the load and prints the results so far."""
    with Terminal("--server", server.address, "bench", "--seconds", "9999") as terminal:
        terminal.wait_for("/s")
        terminal.press("\x03")
        screen = terminal.wait()
    assert screen.code == 0
    assert "latency max" in screen.text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bench", "--requests", "1", "--seconds", "1"], 2),
        (["bench", "--threads", "0"], 2),
        (["bench", "--first", str(2**128)], 2),
        (["bench", "--first", "0"], 2),
        (["--server", "127.0.0.1:1", "bench"], 3),
    ],
)
def test_bench_exit_codes(arguments: list[str], code: int) -> None:
    """Each failure has its exit code and an error message."""
    done = fibclient(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr
