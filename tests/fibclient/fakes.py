"""Fake servers, one for each way a peer can misbehave."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEADLINE_SECONDS = 30


@contextmanager
def fake_server(*replies: bytes) -> Iterator[str]:
    """Accept a connection for each reply: read a request, send the reply, and close."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE_SECONDS)

    def serve() -> None:
        for reply in replies:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # the test is over
            with sock:
                sock.settimeout(DEADLINE_SECONDS)
                sock.recv(4096)
                sock.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
