"""Plain sockets to a fibserver, with a timeout for every operation."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers import DEADLINE_SECONDS, RunningServer

__all__ = ["connected", "read_exactly"]


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    """Open a TCP or Unix connection, and close it at the end."""
    path = server.address.removeprefix("unix:") if server.address.startswith("unix:") else ""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as sock:
        sock.settimeout(DEADLINE_SECONDS)
        sock.connect(path or ("127.0.0.1", server.port))
        if not path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or fewer if the peer closes the connection."""
    parts = []
    while size and (part := sock.recv(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
