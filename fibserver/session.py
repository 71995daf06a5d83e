"""A session: what one client has said so far that changes how it is answered.

A session knows no socket. It also says, as `Server`, what the commands may ask of the
process that runs them, so that they can be tested without one.
"""

from typing import Protocol

from fibclient.formats import Format
from fibserver.replies import RESP2
from fibserver.settings import Settings

__all__ = ["Server", "Session"]


class Server(Protocol):
    """What commands ask of the server."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`, faster if the elements are resident."""

    def information(self, sections: list[str]) -> str:
        """Return the text of `INFO` for these sections, lower-case."""


class Session:
    """The state of one client's conversation.

    Attributes:
        server: the server it talks to.
        client_id: a number no other client of this server has had.
        address: the client's address, as people write it.
        protocol: the RESP version, 2 or 3.
        name: what the client calls itself.
        library_name: the client library's name, as it says.
        library_version: the client library's version, as it says.
        transaction: the requests queued since MULTI, or None outside a transaction.
        transaction_failed: whether a request since MULTI was refused, so EXEC must be too.
        is_quitting: whether the connection is to end after the replies so far.
    """

    def __init__(self, server: Server, client_id: int, address: str) -> None:
        self.server = server
        self.client_id = client_id
        self.address = address
        self.is_quitting = False
        self.library_name = ""
        self.library_version = ""
        self.reset()

    def reset(self) -> None:
        """Return to the state of a new connection."""
        self.protocol = RESP2
        self.name = ""
        self.end_transaction()

    def end_transaction(self) -> None:
        """Leave the transaction, if any, forgetting its requests."""
        self.transaction: list[list[bytes]] | None = None
        self.transaction_failed = False

    @property
    def is_in_transaction(self) -> bool:
        """Whether MULTI has been said, so that requests are queued, not answered."""
        return self.transaction is not None
