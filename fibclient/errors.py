"""Exceptions of fibclient, grouped by cause."""

__all__ = [
    "CallCancelled",
    "ClientClosed",
    "ConnectionLost",
    "DeadlineExceeded",
    "FibError",
    "NotFibserver",
    "RequestRefused",
    "ServerMisbehaved",
    "ServerUnreachable",
    "SocketShortage",
]


_TEMPORARY_CODES = {"BUSY", "NOSPACE", "SHUTDOWN"}
_REMEDIES = {
    "NOAUTH": "pass the password of the server to FibClient: password=...",
    "WRONGPASS": "compare the password passed to FibClient with the server's password_file",
}
"""Notes on errors that concern the caller's program, by code."""

_TOO_MANY_CLIENTS = "ERR max number of clients reached"
"""Neither Redis nor fibserver has a code of its own for this."""


class FibError(Exception):
    """Base class of all errors of a call."""


class RequestRefused(FibError):
    """The server rejected the request: change it or, if `is_temporary`, retry it later.

    Attributes:
        code: First word of the server's error reply, such as LIMIT.
        is_temporary: Whether the request may succeed later, or at another server.
    """

    def __init__(self, message: str) -> None:
        """Create the error from the server's error reply."""
        message = message.rstrip()  # some of Redis's end with a space
        super().__init__(message)
        self.code = message.partition(" ")[0]
        if remedy := _REMEDIES.get(self.code):
            self.add_note(remedy)
        self.is_temporary = self.code in _TEMPORARY_CODES or message == _TOO_MANY_CLIENTS


class ServerUnreachable(FibError):
    """A connection failed, broke or timed out: check the server and the network."""


class SocketShortage(ServerUnreachable):
    """This machine has no descriptor or memory for another socket; no server is at fault."""


class ConnectionLost(ServerUnreachable):
    """The peer closed or reset the connection."""


class DeadlineExceeded(ServerUnreachable):
    """The timeout of the call expired: allow more time, or request less."""


class ServerMisbehaved(FibError):
    """The peer sent an invalid reply: it is not a fibserver, or one of another version."""


class NotFibserver(ServerMisbehaved):
    """The peer is another service, such as a web server; the address is probably wrong."""


class ClientClosed(FibError):
    """The client was closed before or during the call."""


class CallCancelled(FibError):
    """The call's `Cancellation` was cancelled."""
