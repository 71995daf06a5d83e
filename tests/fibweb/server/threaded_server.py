"""HTTP servers in threads of the test process, and clients for them."""

import array
import fcntl
import re
import socket
import termios
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import waitress.server
from waitress import wasyncore

from fibweb.http.cors import CorsPolicy
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES
from fibweb.server.response import IDENT
from fibweb.server.server import HttpLimits, HttpServer, Site
from fibweb.stats.access_record import AccessRecord
from tests.support.waiting import DEADLINE_SECONDS, wait_until

__all__ = [
    "OwnServer",
    "StockServer",
    "connect",
    "converse",
    "read_all",
    "send_read",
    "without_date",
]

_running: dict[Path, HttpServer] = {}

_CHANGING = re.compile(rb"(?m)^(Date|X-Request-Id): [^\r]*\r\n", re.IGNORECASE)


class OwnServer:
    """The server under test, in a thread.

    Attributes:
        path: Path of its Unix socket.
        exchanges: Access records of the finished requests.
        server: The server.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        path: Path,
        limits: HttpLimits | None = None,
        root_path: str = "",
        cors: CorsPolicy | None = None,
        parameters: Collection[str] | None = None,
    ) -> None:
        self.path = path
        self.exchanges: list[AccessRecord] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.server = HttpServer(
            [Site(app, listener, cors, parameters)],
            on_response=self.exchanges.append,
            limits=limits or HttpLimits(threads=2),
            root_path=root_path,
        )
        _running[path] = self.server
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()

    def handlings(self, count: int) -> list[str]:
        """Wait for `count` responses, and return the handlings of all."""
        wait_until(lambda: len(self.exchanges) >= count, f"{count} answers")
        return [record.handling for record in self.exchanges]

    def join(self) -> None:
        """Wait until the server has ended."""
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """Stop the server at once."""
        self.server.stop(0)
        self.join()
        _running.pop(self.path, None)


class StockServer:
    """Unmodified waitress with the same limits; `path` is its Unix socket."""

    def __init__(self, app: Callable[..., Any], path: Path, root_path: str = "") -> None:
        self.path = path
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self._server: Any = waitress.server.create_server(
            app,
            sockets=[listener],
            ident=IDENT,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            asyncore_use_poll=True,
            url_prefix=root_path,
        )
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server: its loop ends when no descriptor is left."""
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._server._map))
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        self._server.task_dispatcher.shutdown()


def connect(path: Path) -> socket.socket:
    """Return a connection to a Unix socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE_SECONDS)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def send_read(client: socket.socket, data: bytes) -> None:
    """Send bytes, and wait until the server has read them."""
    client.sendall(data)
    wait_until(lambda: _is_read(client), "the server reads")


def read_all(client: socket.socket) -> bytes:
    """Return the bytes received until the server closes the connection."""
    received = bytearray()
    try:
        while piece := client.recv(1 << 20):
            received += piece
    except ConnectionResetError:
        pass  # the server closed the connection with unread bytes
    return bytes(received)


def converse(path: Path, pieces: Iterable[bytes]) -> bytes:
    """Send pieces one after another; return all responses, without Date and X-Request-Id.

    The client shuts down its side only when no fetch is pending: earlier it would count as
    disconnected.
    """
    server = _running.get(path)
    with connect(path) as client:
        *first, last = pieces
        received = bytearray()
        try:
            for piece in first:
                send_read(client, piece)
            client.sendall(last)
            if server is not None:
                _receive_until_settled(client, server, received)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed the connection
        return without_date(bytes(received) + read_all(client))


def _receive_until_settled(client: socket.socket, server: HttpServer, received: bytearray) -> None:
    """Receive bytes until the server waits only for the client."""
    quiet_turns: list[int] = []  # iterations of the event loop without work

    def is_settled() -> bool:
        with suppress(BlockingIOError):
            while piece := client.recv(1 << 20):
                received.extend(piece)
                quiet_turns.clear()
        channels = server._all_channels()
        is_quiet = not any(channel.is_answering for channel in channels)
        if not (is_quiet and _is_read(client)):
            quiet_turns.clear()
        elif server.iterations not in quiet_turns:
            quiet_turns.append(server.iterations)
        server._loop.wake()
        return len(quiet_turns) > 2

    client.setblocking(False)
    try:
        wait_until(is_settled, "the server has nothing to do")
    finally:
        client.settimeout(DEADLINE_SECONDS)


def _is_read(client: socket.socket) -> bool:
    unread = array.array("i", [0])
    fcntl.ioctl(client, termios.TIOCOUTQ, unread)
    return unread[0] == 0


def without_date(data: bytes) -> bytes:
    """Return responses without Date and X-Request-Id."""
    return _CHANGING.sub(b"", data)
