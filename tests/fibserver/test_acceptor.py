"""The acceptor under shortage, and the start of the command."""

import contextlib
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fibclient import FibClient
from tests.servers import DEADLINE_SECONDS, RunningServer


def test_descriptors_run_out(serve: Callable[..., RunningServer]) -> None:
    """Clients beyond the last descriptor wait in the backlog, and are served when one is free."""
    server = serve("--workers", "1")
    used = server.process.num_fds()
    limit = (used + 4, used + 4)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limit)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS)
            )
            for _ in range(8)
        ]
        for client in clients:
            client.sendall(b"PING\r\n")
        for client in clients:
            assert client.recv(100) == b"+PONG\r\n"
            client.close()
    assert "cannot accept connections" in server.log.read_text()


def test_unread_rejections_do_not_end_the_server(serve: Callable[..., RunningServer]) -> None:
    """A client that is one too many and gone again harms nobody."""
    server = serve(FIBSERVER_MAX_CLIENTS="1")
    with FibClient(server.address) as client:
        client.ping()
        for _ in range(50):
            socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS).close()
        client.ping()


def run_fibserver(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where it is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "fibserver", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--workers", "0"], {}, "workers: 0: "),
        (["--listen", "nowhere"], {}, "listen: "),
        (["--listen", "0.0.0.0:0"], {}, "listen: '0.0.0.0:0' can be reached from other machines"),
        (["--log-level", "loud"], {}, "log_level: 'loud': "),
        ([], {"FIBSERVER_MEMORY_LIMIT": "many"}, "memory_limit: 'many': "),
        ([], {"FIBSERVER_IDLE_TIMEOUT": "-1"}, "idle_timeout: '-1': "),
        (
            ["--listen", "unix:/nowhere/socket"],
            {},
            "cannot listen on unix:/nowhere/socket: No such",
        ),
    ],
)
def test_bad_settings(arguments: list[str], environment: dict[str, str], message: str) -> None:
    """A bad setting stops the start with one line that names it, and a code of its own."""
    done = run_fibserver(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fibserver: {message}")
    assert done.stderr.count("\n") == 1


def test_several_bad_settings() -> None:
    """Each bad setting has a line."""
    done = run_fibserver("--workers", "0", "--log-level", "loud", FIBSERVER_MAX_INDEX="-1")
    assert done.returncode == 2
    names = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert sorted(names) == ["log_level", "max_index", "workers"]


def test_an_address_in_use(server: RunningServer) -> None:
    """An address that another server has is a failed start."""
    done = run_fibserver("--listen", server.address)
    assert done.returncode == 2
    assert done.stderr == f"fibserver: cannot listen on {server.address}: Address already in use\n"


def test_a_stale_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The socket file of a killed server does not stop the next start; a live one's does."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop(9)
    assert (tmp_path / "socket").exists()
    serve("--listen", address)
    assert run_fibserver("--listen", address).returncode == 2
    with FibClient(address) as client:
        client.ping()


def test_a_worker_keeps_no_client_open(serve: Callable[..., RunningServer]) -> None:
    """A worker that was started among clients holds none of their sockets."""
    server = serve("--workers", "1")
    with FibClient(server.address) as client:
        client.first(10)
        server.workers()[0].kill()
        client.range(3000, 3001)  # only the new worker can fill this
        (worker,) = server.workers()
        kept = {file.path for file in worker.open_files()}
        assert not worker.net_connections("tcp")
    assert all(
        path == "/dev/null" or "/dev/shm/" in path or path.endswith(".log") for path in kept
    )
