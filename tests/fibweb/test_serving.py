"""The `fibweb` command with its embedded fibserver, over real HTTP."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.numbers import digits
from tests.servers import DEADLINE_SECONDS, RunningServer

COMMAND = [sys.executable, "-m", "fibweb", "--listen", "127.0.0.1:0", "--embedded"]
READY = re.compile(r"fibweb: ready on (http://\S+)")


@pytest.fixture
def fibweb(tmp_path: Path) -> Iterator[RunningServer]:
    """A running fibweb; its address is a URL."""
    running = RunningServer(COMMAND, tmp_path / "log", ready=READY)
    yield running
    running.stop()


def test_numbers_over_http(fibweb: RunningServer) -> None:
    """A request goes through waitress, Falcon, client, acceptor, worker and shared memory."""
    with urllib.request.urlopen(f"{fibweb.address}/fib/5000", timeout=DEADLINE_SECONDS) as reply:
        assert reply.status == 200
        body = reply.read()
        assert int(reply.headers["Content-Length"]) == len(body)
    assert json.loads(body) == {"N": 5000, "result": digits(0, 5000)}


def test_errors_over_http(fibweb: RunningServer) -> None:
    """A bad n is 400 over the wire too."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{fibweb.address}/fib/-1", timeout=DEADLINE_SECONDS)
    with caught.value as error:
        assert error.code == 400
        assert error.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
def test_the_embedded_server_ends_too(fibweb: RunningServer, number: int, code: int) -> None:
    """However fibweb ends, so does its fibserver, with all its workers."""
    assert fibweb.stop(number) == code


def test_a_port_in_use(fibweb: RunningServer, tmp_path: Path) -> None:
    """A failed start says why in one line, and has an exit code of its own."""
    listen = fibweb.address.removeprefix("http://")
    done = subprocess.run(
        [sys.executable, "-m", "fibweb", "--listen", listen],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"fibweb: cannot listen on {listen}: Address already in use\n"
