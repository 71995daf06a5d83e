"""Session state of one client, and the server interface that commands use.

A session has no socket. `Server` declares what commands need of the process that runs them, so
that tests can run commands without one.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from fibcommon.formats import Format
from fibserver.core.listings import Listings
from fibserver.core.statistics import Statistics
from fibserver.monitoring.slow_log import SlowLog
from fibserver.protocol.reply_encoding import RESP2
from fibserver.settings import ServerSettings

__all__ = ["UNIX_ADDRESS", "ClientInfo", "Server", "Session", "Tracking"]

UNIX_ADDRESS = "unix:0"
"""Address shown for every client of a Unix socket."""

CONNECTION_BYTES = 4096
"""Approximate memory of a connection that holds no data."""


class ClientInfo(NamedTuple):
    """State of one client, for CLIENT LIST and CLIENT KILL.

    Attributes:
        session: Session of the client.
        local_address: Server address that the client connected to.
        fd: File descriptor of the socket.
        age_seconds: Time since the client connected.
        idle_seconds: Time since bytes were last received or sent.
        received_bytes: Bytes received but not yet processed.
        output_pieces: Number of pending replies or parts of replies.
        output_bytes: Pending bytes in this process's memory; shared memory does not count.
        events: Events that the socket is registered for: `r`, `w` or both.
        is_waiting: Whether the next reply waits for workers.
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
        """Approximate memory of the connection with its buffers."""
        held = self.received_bytes + self.output_bytes + self.session.transaction_bytes
        return CONNECTION_BYTES + held


class Server(Protocol):
    """Server interface for commands."""

    statistics: Statistics
    slow_log: SlowLog
    listings: Listings
    password: bytes | None
    """Password that clients must send, None if none is required."""

    @property
    def settings(self) -> ServerSettings:
        """Settings in force."""

    @property
    def unavailable_reason(self) -> tuple[str, str] | None:
        """Error code and message if clients should use another server, else None."""

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return `format.slice_size(start, stop)`; faster for resident elements."""

    def info_text(self, sections: list[str]) -> str:
        """Return the text of INFO for these lower-case sections, or the default ones if empty."""

    def clients(self) -> Iterable[ClientInfo]:
        """Return a lazy iterator over the connected clients, in the order they connected."""

    def client(self, client_id: int) -> ClientInfo | None:
        """Return information about a client, or None if it is not connected."""

    def close_client(self, client_id: int) -> None:
        """Close a client's connection."""


class Tracking(NamedTuple):
    """Options of CLIENT TRACKING.

    Attributes:
        modes: Options without a value, in lower case.
        redirect: ID of the client to notify instead, 0 for none.
        prefixes: Prefixes of the keys to track.
    """

    modes: frozenset[str]
    redirect: int
    prefixes: tuple[bytes, ...]


class Session:
    """State of one client's session.

    Attributes:
        server: Server that the client is connected to.
        client_id: Number that is never used again by this server.
        address: Client address as text.
        protocol: RESP version, 2 or 3.
        name: Name set by CLIENT SETNAME or HELLO.
        library_name: Client library name set by CLIENT SETINFO.
        library_version: Client library version set by CLIENT SETINFO.
        is_authenticated: Whether the client sent the password, or connected when none was needed.
        transaction: Requests queued since MULTI, or None outside a transaction.
        transaction_bytes: Memory that those requests take.
        transaction_failed: Whether a request since MULTI was rejected, so that EXEC must fail.
        tracking: Options of CLIENT TRACKING, None if tracking is off.
        is_quitting: Whether the connection closes after the pending replies.
        last_command: Name of the last command, in lower case.
    """

    def __init__(self, server: Server, client_id: int, address: str) -> None:
        self.server = server
        self.client_id = client_id
        self.address = address
        self.is_quitting = False
        self.library_name = ""
        self.library_version = ""
        self.last_command = "NULL"  # Redis's placeholder before the first command
        self.reset()

    def reset(self) -> None:
        """Reset protocol, name, tracking, authentication and transaction."""
        self.protocol = RESP2
        self.name = ""
        self.tracking: Tracking | None = None
        self.is_authenticated = self.server.password is None
        self.end_transaction()

    def end_transaction(self) -> None:
        """Leave the transaction, if any, and discard its requests."""
        self.transaction: list[list[bytes]] | None = None
        self.transaction_bytes = 0
        self.transaction_failed = False

    @property
    def is_in_transaction(self) -> bool:
        """Whether requests are queued because of MULTI."""
        return self.transaction is not None
