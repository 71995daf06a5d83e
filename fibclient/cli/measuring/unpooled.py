"""Connections without a pool or retries, for diagnostics."""

import time
from collections.abc import Iterable
from contextlib import closing

from fibclient.connections.connection import Connection
from fibclient.connections.endpoint import Endpoint
from fibclient.connections.resp import Reply
from fibclient.errors import FibError, RequestRefused, ServerMisbehaved, ServerUnreachable
from fibclient.transport.resolver import resolve_in_time
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["UnpooledConnection", "check_limits", "connect"]


class UnpooledConnection:
    """A connection to one endpoint, with the same time limit for every step."""

    def __init__(self, target: ResolvedAddress, step_timeout_seconds: float) -> None:
        """Connect, without authentication.

        Args:
            target: The endpoint.
            step_timeout_seconds: The time limit for each step, > 0.

        Raises:
            ServerUnreachable: The connection failed.
        """
        self._step_timeout = step_timeout_seconds
        self._connection = Connection(Endpoint(target), step_timeout_seconds)
        self._connection.deadline = time.monotonic() + step_timeout_seconds
        try:
            self._connection.open(step_timeout_seconds)
        except BaseException:
            self.close()
            raise

    def call(self, *args: str | int) -> Reply:
        """Send a request and return the reply.

        Raises:
            FibError: No reply came in time, or it is an error.
        """
        self._connection.deadline = time.monotonic() + self._step_timeout
        return self._connection.call(*args)

    def info(self) -> str:
        """Return the text of INFO ALL.

        Raises:
            FibError: The request failed, or the reply is invalid.
        """
        text = self.call("INFO", "all")
        if not isinstance(text, bytes):
            raise ServerMisbehaved(f"invalid reply to INFO: {text!r:.64}")
        return text.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect(
    server: Address, password: str | None, step_timeout_seconds: float
) -> UnpooledConnection:
    """Connect to the first reachable endpoint of an address, and authenticate.

    Args:
        server: The address.
        password: The password; None for none.
        step_timeout_seconds: The time limit for each step, > 0.

    Raises:
        FibError: No endpoint is reachable, or the server rejects the password.
    """
    failure: FibError = ServerUnreachable(f"{server} has no addresses")
    for target in resolve_in_time(server, step_timeout_seconds):
        try:
            connection = UnpooledConnection(target, step_timeout_seconds)
        except ServerUnreachable as error:
            failure = error
            continue
        if password is not None:
            try:
                connection.call("AUTH", password)
            except BaseException:
                connection.close()
                raise
        return connection
    raise failure


def check_limits(
    servers: Iterable[Address],
    password: str | None,
    step_timeout_seconds: float,
    start: int,
    stop: int,
    format_name: str,
) -> None:
    """Raise `RequestRefused` if F(start) to F(stop-1) are beyond the limits of a server.

    The first server that replies decides. Other failures are ignored: requests for the numbers
    show them too.

    Args:
        servers: The addresses.
        password: The password; None for none.
        step_timeout_seconds: The time limit for each step, > 0.
        start: The first index, >= 0.
        stop: The index after the last, >= start.
        format_name: The format.
    """
    for server in servers:
        try:
            with closing(connect(server, password, step_timeout_seconds)) as connection:
                connection.call("FIB.SIZE", start, stop, "FORMAT", format_name)
        except FibError as error:
            if isinstance(error, RequestRefused) and error.code == "LIMIT":
                raise
            continue
        return
