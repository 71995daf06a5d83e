"""One connection to a server: a request at a time, each with its reply.

OSError and the end of the stream become `ServerUnreachable` here, and nowhere else. After
any failure between a request and the end of its reply the connection must be closed, since
what arrives next would be taken for the reply to another request.
"""

import select
import socket
from typing import BinaryIO, cast

from fibclient.address import Address
from fibclient.errors import ServerUnreachable
from fibclient.resp import Reply, encode_request, read_reply

__all__ = ["Connection"]

READ_AHEAD_BYTES = 64 * 1024


class Connection:
    """An open connection; not to be shared between threads at a time."""

    def __init__(self, address: Address, timeout_seconds: float) -> None:
        """Connect.

        Args:
            address: of the server.
            timeout_seconds: for connecting, and for each wait for more bytes.

        Raises:
            ServerUnreachable: there is no connection to be had.
        """
        self.address = address
        try:
            self._socket = _connect(address, timeout_seconds)
        except OSError as error:
            raise ServerUnreachable(f"cannot connect to {address}: {error}") from error
        self._reader = cast(BinaryIO, self._socket.makefile("rb", READ_AHEAD_BYTES))

    @property
    def is_stale(self) -> bool:
        """Whether bytes or an end have come that no request asked for."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def call(self, *words: str | int) -> Reply:
        """Send a request and return its reply.

        Raises:
            RequestRefused: the server said no; the connection stays usable.
            ServerUnreachable: the connection broke or timed out.
            ServerMisbehaved: the reply makes no sense.
        """
        try:
            self._socket.sendall(encode_request(*words))
            return read_reply(self._reader)
        except TimeoutError as error:
            raise ServerUnreachable(f"no answer from {self.address} in time") from error
        except (OSError, EOFError) as error:
            raise ServerUnreachable(f"lost {self.address}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self._socket.close()


def _connect(address: Address, timeout_seconds: float) -> socket.socket:
    if not address.path:
        sock = socket.create_connection((address.host, address.port), timeout_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_seconds)
        sock.connect(address.path)
    except BaseException:
        sock.close()
        raise
    return sock
