"""`limits`: for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

from fibclient import FibClient
from tests.support.fibclient_command import fibclient, on_terminal
from tests.support.servers import RunningServer


def test_limits_are_a_table(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The limits and the largest N in each format are printed, as the server has them."""
    path = tmp_path / "fibserver.toml"
    path.write_text("max_index = 5000\nmax_answer_bytes = 1000000")
    server = serve("--config", str(path))
    done = fibclient("--server", server.address, "limits")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:5] == [
        "max_index            5000",
        "max_answer_bytes  1000000",
        "",
        "format  largest N",
        "array        3056",
    ]
    screen = on_terminal("--server", server.address, "limits")
    assert "max_answer_bytes  1,000,000" in screen.lines


def test_limits_as_json(server: RunningServer) -> None:
    """With `--json` they are those of FIB.LIMITS."""
    done = fibclient("--server", server.address, "--json", "limits")
    found = json.loads(done.stdout)
    with FibClient(server.address) as client:
        limits = client.limits()
    assert found["max_index"] == limits.max_index == 10_000_000
    assert found["largest_n"]["json"] == 143_342
    assert next(iter(found["largest_n"])) == "array"


def test_limits_of_unreachable_server() -> None:
    """An unreachable server is one line, and exit code 3."""
    done = fibclient("--server", "127.0.0.1:1", "--timeout", "1", "limits")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
