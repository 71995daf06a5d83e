"""Connecting to whichever of several servers accepts first.

A server that refuses is replaced by the next at once. While servers stay silent, the number of
connections that are being opened doubles after each `CONNECT_PATIENCE_SECONDS`, so a healthy
server behind a hundred silent ones is found within a second (RFC 8305, Happy Eyeballs, starts them
one by one). With one server this is an ordinary connect.
"""

import select
import time
from collections.abc import Callable

from fibclient.connections.connection import Connection
from fibclient.errors import DeadlineExceeded, ServerUnreachable

__all__ = ["first_connected"]

CONNECT_PATIENCE_SECONDS = 0.1
"""Connecting takes one round trip, whatever the load; only a distant host needs this long."""


def first_connected(
    start_next: Callable[[], Connection | None],
    fail: Callable[[Connection, ServerUnreachable | None], None],
    timeout_seconds: float,
    deadline: float,
    watched: Connection | None,
) -> Connection | None:
    """Return the first connection that is open, or None if there are no more to be opened.

    Args:
        start_next: starts to open one more; returns None if there is none left to try.
        fail: takes back a connection that is not returned, with its failure if it is to blame.
        timeout_seconds: for each connection.
        deadline: of the call, monotonic.
        watched: when something comes from there, None is returned at once.

    Raises:
        DeadlineExceeded: none was open in time.
    """
    opening: dict[int, Connection] = {}
    poll = select.poll()
    if watched is not None:
        poll.register(watched, select.POLLIN)
    wanted, next_growth = 1, time.monotonic() + CONNECT_PATIENCE_SECONDS
    try:
        while True:
            while len(opening) < wanted and (started := start_next()) is not None:
                opening[started.fileno()] = started
                poll.register(started, select.POLLOUT)
            if not opening:
                return None
            now = time.monotonic()
            if now >= deadline:
                raise DeadlineExceeded(
                    f"cannot connect to {_names(opening)}: no connection in time"
                )
            expiries = [each.started_at + timeout_seconds for each in opening.values()]
            ready = poll.poll(max(0.0, min(next_growth, deadline, *expiries) - now) * 1000)
            for fd, _ in ready:
                connection = opening.pop(fd, None)
                if connection is None:
                    return None  # the one that is watched
                poll.unregister(fd)
                try:
                    connection.finish_opening()
                except ServerUnreachable as error:
                    fail(connection, error)
                else:
                    _set_aside_silent(opening, connection, fail)
                    return connection
            now = time.monotonic()
            if now >= next_growth:
                wanted *= 2
                next_growth = now + CONNECT_PATIENCE_SECONDS
            for fd, connection in list(opening.items()):
                if now >= connection.started_at + timeout_seconds:
                    poll.unregister(fd)
                    fail(opening.pop(fd), _silence(connection, timeout_seconds))
    finally:
        for connection in opening.values():
            fail(connection, None)


def _set_aside_silent(
    opening: dict[int, Connection],
    winner: Connection,
    fail: Callable[[Connection, ServerUnreachable | None], None],
) -> None:
    """Set aside the servers whose connects began a patience or more before the winner's."""
    now = time.monotonic()
    for fd, connection in list(opening.items()):
        if connection.started_at + CONNECT_PATIENCE_SECONDS <= winner.started_at:
            fail(opening.pop(fd), _silence(connection, now - connection.started_at))


def _silence(connection: Connection, seconds: float) -> ServerUnreachable:
    return ServerUnreachable(
        f"cannot connect to {connection.target}: no connection within {seconds:.3g} s"
    )


def _names(opening: dict[int, Connection]) -> str:
    first, *others = map(str, (each.target for each in opening.values()))
    return f"{first} and {len(others)} more" if others else first
