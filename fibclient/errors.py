"""The errors of this package: one family, grouped by whose fault it is."""

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
    """Any failure of a call; the subclasses say what the caller can do."""


class RequestRefused(FibError):
    """The server said no: change the request, or, if `code` is BUSY or NOSPACE, ask later.

    Args:
        message: the server's words, its code first.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


class ServerUnreachable(FibError):
    """No connection, or it broke or timed out: see to the server or the network, try again."""


class SocketShortage(ServerUnreachable):
    """This process has no descriptor or memory for another socket: no fault of the server's."""


class ConnectionLost(ServerUnreachable):
    """The peer closed or reset the connection."""


class DeadlineExceeded(ServerUnreachable):
    """The call's own time is over, whoever was slow: allow more, or ask for less."""


class ServerMisbehaved(FibError):
    """The peer's bytes make no sense: it is no fibserver, or one of another version."""


class NotFibserver(ServerMisbehaved):
    """The peer is another service, such as a web server: correct the address."""


class ClientClosed(FibError):
    """`close` was called, maybe by another thread while this call waited."""


class CallCancelled(FibError):
    """The caller gave up: the call's `Cancellation` was cancelled."""
