"""`verify` as a command."""

import json
import re
from collections.abc import Callable

import pytest

from fibcommon.formats import FORMATS
from tests.support.expected import expected
from tests.support.fake_server import Script, fake_server
from tests.support.fibclient_command import fibclient, on_terminal
from tests.support.servers import RunningServer


def liar(n: int) -> Script:
    """Return a script that replies to FIB.RANGE in `text`, with a wrong digit in F(n)."""

    def script(words: list[bytes]) -> bytes:
        start, stop = int(words[1]), int(words[2])
        reply = bytearray(expected("text", start, stop))
        position = FORMATS["text"].offset(n) - FORMATS["text"].offset(start)
        if start <= n < stop:
            reply[position] = ord("9") if reply[position] != ord("9") else ord("8")
        return b"$%d\r\n%b\r\n" % (len(reply), bytes(reply))

    return script


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "array"])
def test_verify_in_each_format(server: RunningServer, format: str) -> None:
    """A server's numbers are correct in every format."""
    done = fibclient("--server", server.address, "verify", "1000", "--format", format)
    assert (done.returncode, done.stderr) == (0, "")
    pattern = r"F\(0\) to F\(999\) are correct: 1,000 numbers, [\d.]+ kB, [\d.]+ m?s\n"
    assert re.fullmatch(pattern, done.stdout)


def test_verify_from_any_index(server: RunningServer) -> None:
    """The check may start at any index."""
    done = fibclient("--server", server.address, "verify", "5", "--from", "100000")
    assert done.stdout.startswith("F(100000) to F(100004) are correct: 5 numbers, 43.4 kB")


def test_verify_sends_several_requests(serve: Callable[..., RunningServer]) -> None:
    """The numbers may exceed the server's limit for one reply."""
    server = serve(FIBSERVER_MAX_ANSWER_BYTES="68MiB")
    done = fibclient("--server", server.address, "verify", "41000")
    assert done.stdout.startswith("F(0) to F(40999) are correct: 41,000 numbers, 73.1 MB")


def test_verify_with_0_checks_nothing(server: RunningServer) -> None:
    """With N = 0, nothing is checked."""
    done = fibclient("--server", server.address, "verify", "0")
    assert (done.returncode, done.stdout) == (0, "Nothing to check: N is 0.\n")


def test_verify_prints_json(server: RunningServer) -> None:
    """`--json` prints an object."""
    done = fibclient("--server", server.address, "--json", "verify", "100", "--format", "csv")
    info = json.loads(done.stdout)
    assert info.pop("seconds") > 0
    assert info == {
        "start": 0,
        "stop": 100,
        "format": "csv",
        "bytes": len(expected("csv", 0, 100)),
        "is_correct": True,
        "error_probability": 2.0**-61,
    }


@pytest.mark.parametrize("n", [0, 1, 17, 499])
def test_verify_reports_first_wrong_number(n: int) -> None:
    """The first wrong number is reported, with exit code 1."""
    with fake_server(liar(n)) as server:
        done = fibclient("--server", server.address, "verify", "500", "--format", "text")
        assert done.returncode == 1
        assert done.stdout.startswith(f"F({n}) is wrong: modulo 2^61-1 it is ")
        assert done.stdout.endswith("; see `fibclient doctor`\n")
        done = fibclient("--server", server.address, "--json", "verify", "500", "--format", "text")
    assert done.returncode == 1
    info = json.loads(done.stdout)
    assert (info["is_correct"], info["first_wrong"]) == (False, n)
    assert info["reason"]


def test_verify_on_terminal_shows_progress(server: RunningServer) -> None:
    """A large check shows a progress bar before the result."""
    for n, has_bar in ((20_000, True), (10_000, False)):
        screen = on_terminal("--server", server.address, "verify", str(n))
        assert screen.code == 0
        assert ("100%" in screen.text) == has_bar
        assert screen.lines[-1].startswith(f"F(0) to F({n - 1}) are correct")


def test_verify_beyond_limit_is_rejected(server: RunningServer) -> None:
    """The first reachable server rejects numbers beyond its limit at once."""
    servers = f"127.0.0.1:1,{server.address}"
    done = fibclient("--server", servers, "verify", "99999999999")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"fibclient: {servers}: LIMIT F(")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "1", "--from", "10000000000"], 1),
        (["verify", "-1"], 2),
        (["verify", "1", "--from", str(2**128 - 1)], 2),
        (["verify", "1", "--format", "array"], 2),
        (["--server", "127.0.0.1:1", "verify", "1"], 3),
    ],
)
def test_verify_exit_codes(server: RunningServer, arguments: list[str], code: int) -> None:
    """Each failure has its exit code and an error message."""
    done = fibclient(*arguments, FIBCLIENT_SERVER=server.address)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr
