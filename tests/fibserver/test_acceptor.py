"""Tests of the acceptor at its limits, and of what its workers inherit."""

import contextlib
import resource
import socket
from collections.abc import Callable

from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client


def test_clients_wait_in_backlog_without_descriptors(serve: Callable[..., RunningServer]) -> None:
    """Without free descriptors clients wait in the backlog until one is closed."""
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
    """Clients over the limit that disconnect at once do no harm."""
    server = serve(FIBSERVER_MAX_CLIENTS="1")
    with direct_client(server.address) as client:
        client.ping()
        for _ in range(50):
            socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS).close()
        client.ping()


def test_a_worker_keeps_no_client_open(serve: Callable[..., RunningServer]) -> None:
    """A worker that starts while clients are connected holds none of their sockets."""
    server = serve("--workers", "1")
    with direct_client(server.address) as client:
        client.first(10)
        server.workers()[0].kill()
        client.range(3000, 3001)  # only the new worker can compute this
        (worker,) = server.workers()
        kept = {file.path for file in worker.open_files()}
        assert not worker.net_connections("tcp")
    assert all(
        path == "/dev/null" or "/dev/shm/" in path or path.endswith(".log") for path in kept
    )
