"""The two Redis clients of Node.js, which node/install.sh installs."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.expected import expected, fibonacci
from tests.support.servers import RunningServer

TIMEOUT_SECONDS = 60
HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node(program: Callable[[str], str]) -> str:
    """The path of node; skips the test unless the clients are installed too."""
    path = program("node")
    if not (HERE / "node_modules" / ".installed-package.json").exists():
        message = f"the Node.js clients are not installed: run sh {HERE / 'install.sh'}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.mark.parametrize(
    "arguments", [["ioredis.mjs"], ["node_redis.mjs", "2"], ["node_redis.mjs", "3"]], ids=" ".join
)
def test_client_gets_what_it_asks_for(
    node: str, server: RunningServer, arguments: list[str]
) -> None:
    """A client gets exact numbers, survives an error, pipelines, and disconnects."""
    script, *options = arguments
    done = subprocess.run(
        [node, HERE / script, str(server.port), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "redis_version:" in seen.pop("info")
    assert seen == {
        "first": [str(number) for number in fibonacci(0, 10)],
        "number": str(fibonacci(0, 1001)[1000]),
        "json": expected("json", 0, 100).decode(),
        "error": "ERR n is 'x': give a whole number from 0 on, in digits only",
        "after": "13",
        "pipeline": [str(number) for number in fibonacci(0, 100)],
        "transaction": ["55", ["0", "1", "1"], "PONG"],
        "quit": "OK",
    }
