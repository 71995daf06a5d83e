"""The client: Fibonacci numbers as Python ints, or as bytes in any format."""

from types import TracebackType
from typing import Self

from fibclient.address import DEFAULT_ADDRESS, parse_address
from fibclient.errors import ServerMisbehaved
from fibclient.formats import FORMATS, decode_binary
from fibclient.pool import ConnectionPool

__all__ = ["FibClient"]


class FibClient:
    """A client of one server; its methods may be called from any thread.

    Every call raises `ValueError` for arguments that no server could take, and of the
    `FibError` family: `RequestRefused` if the server says no, `ServerUnreachable` if there is
    no answer to be had, `ServerMisbehaved` if the answer makes no sense.
    """

    def __init__(
        self,
        server: str = DEFAULT_ADDRESS,
        *,
        max_connections: int = 16,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Describe a client; it connects when it is first used.

        Args:
            server: its address, `HOST:PORT` or `unix:/path`.
            max_connections: how many requests may be under way at a time, >= 1; more wait.
            timeout_seconds: for connecting, and for each wait for more bytes.
        """
        if max_connections < 1:
            raise ValueError(f"max_connections is {max_connections}, it must be at least 1")
        self._pool = ConnectionPool(parse_address(server), max_connections, timeout_seconds)

    def first(self, n: int) -> list[int]:
        """Return the first n numbers, F(0) to F(n-1)."""
        return self.range(0, n)

    def range(self, start: int, stop: int) -> list[int]:
        """Return the numbers F(start) to F(stop-1)."""
        return _decode(self.read(start, stop, "binary"))

    def number(self, n: int) -> int:
        """Return F(n)."""
        return self.range(n, n + 1)[0]

    def read(self, start: int, stop: int, format: str) -> bytes:
        """Return F(start) to F(stop-1) encoded in a format.

        Args:
            start: >= 0.
            stop: >= start.
            format: `json`, `text`, `csv`, `ndjson`, `bfile` or `binary`.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"range({start}, {stop}): 0 <= start <= stop must hold")
        if format not in FORMATS or format == "array":
            known = ", ".join(name for name in FORMATS if name != "array")
            raise ValueError(f"format {format!r}: it must be one of {known}")
        with self._pool.connection() as connection:
            reply = connection.call("FIB.RANGE", start, stop, "FORMAT", format)
            if not isinstance(reply, bytes):
                raise ServerMisbehaved(f"FIB.RANGE was answered with {type(reply).__name__}")
            return reply

    def ping(self) -> None:
        """Make a round trip to the server; return if it answers."""
        with self._pool.connection() as connection:
            reply = connection.call("PING")
            if reply != "PONG":
                raise ServerMisbehaved(f"PING was answered with {reply!r:.64}")

    def close(self) -> None:
        """Close the connections; calls under way may finish, new ones raise `FibError`."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _decode(data: bytes) -> list[int]:
    try:
        return list(decode_binary(data))
    except ValueError as error:
        raise ServerMisbehaved(str(error)) from error
