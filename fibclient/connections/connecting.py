"""Parallel connecting to several servers; the first that accepts is used.

If a server refuses a connection, the next one is tried at once. While servers stay silent, the
number of concurrent attempts doubles every `CONNECT_DELAY_SECONDS`, so a healthy server is found
among a hundred silent ones within a second (RFC 8305, Happy Eyeballs, starts attempts one by one).
With one server this is an ordinary connect.
"""

import select
import time
from collections.abc import Callable

from fibclient.connections.connection import Connection
from fibclient.errors import DeadlineExceeded, ServerUnreachable

__all__ = ["first_connected"]

CONNECT_DELAY_SECONDS = 0.1
"""Connecting takes one round trip, whatever the load; only distant hosts need this long."""


def first_connected(
    start_next: Callable[[], Connection | None],
    fail: Callable[[Connection, ServerUnreachable | None], None],
    timeout_seconds: float,
    deadline: float,
    watched: Connection | None,
) -> Connection | None:
    """Return the first connection that opens, or None if all attempts failed.

    Args:
        start_next: Starts to open another connection; returns None if there are no more.
        fail: Takes back a connection that is not returned, with the error if its server is at
            fault, else None.
        timeout_seconds: Timeout of each attempt.
        deadline: Monotonic deadline of the call.
        watched: Connection whose next bytes end the attempts: None is returned at once.

    Raises:
        DeadlineExceeded: No connection opened before the deadline.
    """
    opening: dict[int, Connection] = {}
    poll = select.poll()
    if watched is not None:
        poll.register(watched, select.POLLIN)
    max_opening, next_growth = 1, time.monotonic() + CONNECT_DELAY_SECONDS
    try:
        while True:
            while len(opening) < max_opening and (started := start_next()) is not None:
                opening[started.fileno()] = started
                poll.register(started, select.POLLOUT)
            if not opening:
                return None
            now = time.monotonic()
            if now >= deadline:
                raise DeadlineExceeded(f"cannot connect to {_names(opening)}: deadline exceeded")
            expiries = [connection.started_at + timeout_seconds for connection in opening.values()]
            ready = poll.poll(max(0.0, min(next_growth, deadline, *expiries) - now) * 1000)
            for fd, _ in ready:
                connection = opening.pop(fd, None)
                if connection is None:
                    return None  # `watched` is readable
                poll.unregister(fd)
                try:
                    connection.finish_opening()
                except ServerUnreachable as error:
                    fail(connection, error)
                else:
                    _fail_silent(opening, connection, fail)
                    return connection
            now = time.monotonic()
            if now >= next_growth:
                max_opening *= 2
                next_growth = now + CONNECT_DELAY_SECONDS
            for fd, connection in list(opening.items()):
                if now >= connection.started_at + timeout_seconds:
                    poll.unregister(fd)
                    fail(opening.pop(fd), _timed_out(connection, timeout_seconds))
    finally:
        for connection in opening.values():
            fail(connection, None)


def _fail_silent(
    opening: dict[int, Connection],
    winner: Connection,
    fail: Callable[[Connection, ServerUnreachable | None], None],
) -> None:
    """Fail the attempts that began at least `CONNECT_DELAY_SECONDS` before the winner's."""
    now = time.monotonic()
    for fd, connection in list(opening.items()):
        if connection.started_at + CONNECT_DELAY_SECONDS <= winner.started_at:
            fail(opening.pop(fd), _timed_out(connection, now - connection.started_at))


def _timed_out(connection: Connection, seconds: float) -> ServerUnreachable:
    return ServerUnreachable(
        f"cannot connect to {connection.target}: no connection within {seconds:.3g} s"
    )


def _names(opening: dict[int, Connection]) -> str:
    first, *others = (str(connection.target) for connection in opening.values())
    return f"{first} and {len(others)} more" if others else first
