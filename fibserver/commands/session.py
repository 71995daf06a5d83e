"""A session: what one client has said so far that changes how it is answered.

A session knows no socket. It also says, as `Server`, what the commands may ask of the
process that runs them, so that they can be tested without one.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from fibcommon.formats import Format
from fibserver.core.listings import Listings
from fibserver.core.statistics import Statistics
from fibserver.monitoring.slow_log import SlowLog
from fibserver.protocol.reply_encoding import RESP2
from fibserver.settings import Settings

__all__ = ["UNIX_ADDRESS", "ClientInfo", "Server", "Session", "Tracking"]

UNIX_ADDRESS = "unix:0"
"""The address of clients of a Unix socket, whatever its path."""

CONNECTION_BYTES = 4096
"""Memory of a connection without data, approximately."""


class ClientInfo(NamedTuple):
    """What there is to know about a client, for CLIENT LIST and CLIENT KILL.

    Attributes:
        session: what it has said.
        local_address: where it connected to.
        fd: the descriptor of its socket.
        age_seconds: since it connected.
        idle_seconds: since bytes last came or went.
        received_bytes: received and not yet answered.
        output_pieces: replies, or pieces of them, that are pending.
        output_bytes: what they take of this process's memory.
        events: `r`, `w` or both: what the socket is watched for.
        is_waiting: whether its next reply waits for workers.
    """

    session: "Session"
    local_address: str
    fd: int
    age_seconds: int
    idle_seconds: int
    received_bytes: int
    output_pieces: int
    output_bytes: int
    events: str
    is_waiting: bool = False

    @property
    def memory_bytes(self) -> int:
        """Memory of the connection with all that it holds, approximately."""
        held = self.received_bytes + self.output_bytes + self.session.transaction_bytes
        return CONNECTION_BYTES + held


class Server(Protocol):
    """What commands ask of the server."""

    statistics: Statistics
    slow_log: SlowLog
    listings: Listings
    password: bytes | None
    """What clients have to say before they are served; None: nothing."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def unavailable_reason(self) -> tuple[str, str] | None:
        """Why clients had better ask another server, as code and message of an error; or None."""

    def monotonic(self) -> float:
        """Return the time: monotonic, in seconds."""

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`, faster if the elements are resident."""

    def information(self, sections: list[str]) -> str:
        """Return the text of `INFO` for these sections, lower-case."""

    def clients(self) -> Iterable[ClientInfo]:
        """Return the facts of all clients, in the order they came, as they are asked for."""

    def client(self, client_id: int) -> ClientInfo | None:
        """Return the facts of one client, None if it is not connected."""

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""


class Tracking(NamedTuple):
    """What a client with a cache of its own has asked for.

    Attributes:
        modes: options without a value, in lower case.
        redirect: the number of the client to notify, 0 for the same one.
        prefixes: of the keys that it is interested in.
    """

    modes: frozenset[str]
    redirect: int
    prefixes: tuple[bytes, ...]


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
        is_authenticated: whether it has said the password, or need not.
        transaction: the requests queued since MULTI, or None outside a transaction.
        transaction_bytes: how much memory those take.
        transaction_failed: whether a request since MULTI was refused, so EXEC must be too.
        tracking: what its own cache needs, None if it has said nothing of one.
        is_quitting: whether the connection is to end after the replies so far.
        last_command: the name of the last command, in lower case.
    """

    def __init__(self, server: Server, client_id: int, address: str) -> None:
        self.server = server
        self.client_id = client_id
        self.address = address
        self.is_quitting = False
        self.library_name = ""
        self.library_version = ""
        self.last_command = "NULL"  # Redis's word for none
        self.reset()

    def reset(self) -> None:
        """Return to the state of a new connection."""
        self.protocol = RESP2
        self.name = ""
        self.tracking: Tracking | None = None
        self.is_authenticated = self.server.password is None
        self.end_transaction()

    def end_transaction(self) -> None:
        """Leave the transaction, if any, forgetting its requests."""
        self.transaction: list[list[bytes]] | None = None
        self.transaction_bytes = 0
        self.transaction_failed = False

    @property
    def is_in_transaction(self) -> bool:
        """Whether MULTI has been said, so that requests are queued, not answered."""
        return self.transaction is not None
