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


class FibError(Exception):
    """Base class of all errors of a call."""


class RequestRefused(FibError):
    """The server rejected the request: change it, or retry later if `code` is BUSY or NOSPACE.

    Args:
        message: Error reply of the server, which begins with its code.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


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
    """The peer is another service, such as a web server: correct the address."""


class ClientClosed(FibError):
    """The client was closed before or during the call."""


class CallCancelled(FibError):
    """The call's `Cancellation` was cancelled."""
