"""Connections with nothing between a diagnosis and the server: no pool, no retries."""

import time

from fibclient.connections.connection import Connection
from fibclient.connections.endpoints import Endpoint
from fibclient.connections.resp import Reply
from fibclient.errors import FibError, ServerMisbehaved, ServerUnreachable
from fibclient.transport.resolver import resolve_in_time
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["DirectConnection", "connect"]


class DirectConnection:
    """One connection to one place, every step bounded by the same patience."""

    def __init__(self, target: ResolvedAddress, patience_seconds: float) -> None:
        """Connect; the password is to be said by `call`.

        Args:
            target: where to.
            patience_seconds: for each step, > 0.

        Raises:
            ServerUnreachable: there is no connection to be had.
        """
        self._patience = patience_seconds
        self._connection = Connection(Endpoint(target), patience_seconds)
        self._connection.deadline = time.monotonic() + patience_seconds
        try:
            self._connection.open(patience_seconds)
        except BaseException:
            self.close()
            raise

    def call(self, *words: str | int) -> Reply:
        """Return the reply to a request.

        Raises:
            FibError: there is none, or it is a refusal.
        """
        self._connection.deadline = time.monotonic() + self._patience
        return self._connection.call(*words)

    def information(self) -> str:
        """Return the text of INFO ALL.

        Raises:
            FibError: there is none.
        """
        text = self.call("INFO", "all")
        if not isinstance(text, bytes):
            raise ServerMisbehaved(f"INFO was answered with {text!r:.64}")
        return text.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect(server: Address, password: str | None, patience_seconds: float) -> DirectConnection:
    """Connect to the first place that an address leads to where this is possible.

    Args:
        server: the address.
        password: is said, if there is one.
        patience_seconds: for each step, > 0.

    Raises:
        FibError: there is no such place, or the password is refused.
    """
    failure: FibError = ServerUnreachable(f"{server} leads nowhere")
    for target in resolve_in_time(server, patience_seconds):
        try:
            connection = DirectConnection(target, patience_seconds)
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
