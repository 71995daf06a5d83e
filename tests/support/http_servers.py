"""Applications served by a thread, with the HTTP server of fibweb or with plain waitress."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import waitress.server

from fibweb.server.server import HttpLimits, HttpServer, Site

__all__ = ["SERVERS", "Serve"]

DEADLINE_SECONDS = 30
THREADS = 2

Serve = Callable[[Any], AbstractContextManager[int]]
"""Context in which an application is served; its value is the port."""


@contextmanager
def _by_fibweb(app: Any) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    limits = HttpLimits(threads=THREADS)
    server = HttpServer(
        [Site(app, listener)], on_response=lambda access_record: None, limits=limits
    )
    with _running(server.run, lambda: server.stop(0)):
        yield port


@contextmanager
def _by_waitress(app: Any) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    server: Any = waitress.server.create_server(
        app, sockets=[listener], threads=THREADS, asyncore_use_poll=True
    )

    def close() -> None:
        for channel in list(server.active_channels.values()):
            channel.handle_close()
        server.task_dispatcher.shutdown()  # its threads use what close() closes
        server.close()

    # The loop ends when no channel is left.
    with _running(server.run, lambda: server.trigger.pull_trigger(close)):
        yield port


SERVERS: dict[str, Serve] = {"fibweb": _by_fibweb, "waitress": _by_waitress}


@contextmanager
def _running(run: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
