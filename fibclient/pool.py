"""A pool of connections, shared by threads.

It decides under its lock and connects outside it. The connection used last is the first to be
used again, so those not needed grow stale, are found out before use and dropped.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fibclient.address import Address
from fibclient.connection import Connection
from fibclient.errors import FibError, RequestRefused, ServerUnreachable

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """At most `size` connections to one server."""

    def __init__(self, address: Address, size: int, timeout_seconds: float) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._size = size
        self._condition = threading.Condition()
        self._idle: list[Connection] = []
        self._in_use = 0
        self._is_closed = False

    def __repr__(self) -> str:
        return (
            f"<ConnectionPool {self._address}: {self._in_use} in use, {len(self._idle)} idle, "
            f"at most {self._size}>"
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; wait for one if all are in use.

        Any exception but `RequestRefused` closes it: its next bytes cannot be trusted.

        Raises:
            ServerUnreachable: none can be opened, or none became free in time.
        """
        connection = self._borrow()
        try:
            yield connection
        except RequestRefused:
            self._give_back(connection)
            raise
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(connection)

    def _borrow(self) -> Connection:
        with self._condition:
            if not self._condition.wait_for(self._may_borrow, self._timeout_seconds):
                raise ServerUnreachable(f"all {self._size} connections were busy for too long")
            if self._is_closed:
                raise FibError("the client is closed")
            self._in_use += 1
        try:
            while (candidate := self._newest_idle()) is not None:
                if not candidate.is_stale:
                    return candidate
                candidate.close()
            return Connection(self._address, self._timeout_seconds)
        except BaseException:
            with self._condition:
                self._in_use -= 1
                self._condition.notify()
            raise

    def _may_borrow(self) -> bool:
        return self._is_closed or self._in_use < self._size

    def _newest_idle(self) -> Connection | None:
        with self._condition:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection) -> None:
        with self._condition:
            self._in_use -= 1
            if not self._is_closed:
                self._idle.append(connection)
                self._condition.notify()
                return
        connection.close()

    def _drop(self, connection: Connection) -> None:
        connection.close()
        with self._condition:
            self._in_use -= 1
            self._condition.notify()

    def close(self) -> None:
        """Close idle connections now and the others when they are given back."""
        with self._condition:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._condition.notify_all()
        for connection in idle:
            connection.close()
