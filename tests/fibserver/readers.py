"""Client that reads a huge reply at full speed, slowly or not at all."""

import hashlib
import socket
import threading

from tests.support.servers import DEADLINE_SECONDS, RunningServer

__all__ = ["HashingReader"]

CHUNK_BYTES = 1 << 20
PAUSE_SECONDS = 0.05


class HashingReader:
    """One request and its reply, which is hashed and not kept.

    Attributes:
        header: First line of the reply.
        received_bytes: Bytes of the bulk string received so far.
    """

    def __init__(self, server: RunningServer, request: bytes, buffer_bytes: int = 0) -> None:
        """Send a request whose reply is one bulk string.

        Args:
            server: Server to connect to.
            request: Inline request without its line end.
            buffer_bytes: Size of the receive buffer; 0 for the system's default.
        """
        self.received_bytes = 0
        self.header = b""
        self._digest = hashlib.sha256()
        self._socket = socket.socket()
        if buffer_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.settimeout(DEADLINE_SECONDS)
        self._socket.connect(("127.0.0.1", server.port))
        self._socket.sendall(request + b"\r\n")

    def read_header(self) -> int:
        """Return the size from the header of the reply."""
        while not self.header.endswith(b"\n"):
            self.header += self._socket.recv(1)
        assert self.header.startswith(b"$"), self.header
        return int(self.header[1:])

    def read(self, size: int) -> bool:
        """Read 1 to `size` bytes; return False at the end of the connection."""
        part = self._socket.recv(size)
        self._digest.update(part)
        self.received_bytes += len(part)
        return bool(part)

    def read_all(self) -> str:
        """Read the whole reply, and return its digest."""
        size = self.read_header()
        while self.received_bytes < size:
            assert self.read(min(CHUNK_BYTES, size - self.received_bytes)), "it broke off"
        assert self._socket.recv(2) == b"\r\n"
        return self._digest.hexdigest()

    def read_slowly(self, bytes_per_second: int, size: int) -> None:
        """Read at least `size` bytes at the given rate."""
        pause = threading.Event()
        self.read_header()
        part = int(bytes_per_second * PAUSE_SECONDS)
        while self.received_bytes < size:
            assert self.read(part), "it broke off"
            pause.wait(PAUSE_SECONDS)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
