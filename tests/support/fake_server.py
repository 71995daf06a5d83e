"""Fake servers that reply to requests according to a script."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

__all__ = ["FakeServer", "HangUp", "fake_server", "full_backlog", "in_turn", "is_reset"]

DEADLINE_SECONDS = 30

Script = Callable[[list[bytes]], bytes | Iterator[bytes] | None]
"""Returns the reply to a request, possibly in parts; None for no reply. May raise `HangUp`."""


class HangUp(Exception):
    """Send `last`, then close the connection."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__(last)
        self.last = last


class FakeServer:
    """Accepts connections and reads requests, each connection on a thread of its own.

    Attributes:
        address: Address on which it listens.
        connections: Number of connections accepted.
        requests: Requests received, except PING.
        pings: Number of PINGs received.
    """

    def __init__(self, script: Script, *, answers_pings: bool = True, port: int = 0) -> None:
        self._script = script
        self._answers_pings = answers_pings
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[list[bytes]] = []
        self.pings = 0
        self.was_asked = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # the test is over
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as incoming:
            try:
                while words := _read_request(incoming):
                    reply = self._answer(words)
                    for part in [reply] if isinstance(reply, bytes) else reply or ():
                        sock.sendall(part)
            except HangUp as end:
                sock.sendall(end.last)
            except OSError:
                return  # the client is gone, or the test is over

    def _answer(self, words: list[bytes]) -> bytes | Iterator[bytes] | None:
        if words == [b"PING"]:
            self.pings += 1
            if self._answers_pings:
                return b"+PONG\r\n"
        else:
            self.requests.append(words)
            self.was_asked.set()
        return self._script(words)

    def hang_up(self) -> None:
        """Close all open connections."""
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already closed

    def close(self) -> None:
        """Stop listening, close all connections, and wait for the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.hang_up()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()


def _read_request(incoming: BinaryIO) -> list[bytes] | None:
    """Read an array of bulk strings; return None at the end of the stream."""
    count = incoming.readline()
    if not count:
        return None
    words = []
    for _ in range(int(count[1:])):
        size = int(incoming.readline()[1:])
        words.append(incoming.read(size + 2)[:-2])
    return words


@contextmanager
def fake_server(script: Script, *, answers_pings: bool = True) -> Iterator[FakeServer]:
    """Run a fake server."""
    server = FakeServer(script, answers_pings=answers_pings)
    try:
        yield server
    finally:
        server.close()


def in_turn(*steps: bytes | HangUp | None) -> Script:
    """Return a script that takes one step per request, and repeats the last."""
    left = list(steps)

    def script(words: list[bytes]) -> bytes | None:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, HangUp):
            raise step
        return step

    return script


@contextmanager
def full_backlog() -> Iterator[str]:
    """Open a listener with a full backlog, so that connecting to it never succeeds."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def is_reset(peer: socket.socket) -> bool:
    """Read a connection to its end, close it, and return whether it was reset."""
    with peer:
        peer.settimeout(DEADLINE_SECONDS)
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            return True
    return False
