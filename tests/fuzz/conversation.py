"""Client with its connection, whose events arrive in an order that epoll may report."""

from random import Random
from select import EPOLLHUP, EPOLLIN, EPOLLOUT

from fibserver.network import connection as connection_module
from fibserver.network.connection import ConnectionState
from fibserver.protocol.request_parser import MAX_REQUEST_BYTES
from tests.fuzz.fakes import FakeSocket, FuzzedServer

__all__ = ["FuzzFailure", "FuzzedConversation"]


class FuzzFailure(AssertionError):
    """A requirement is not met."""


class FuzzedConversation:
    """One client with its connection.

    Attributes:
        sock: Socket between them.
        connection: Connection under test.
        most_pending: Largest size of the pending output, in bytes.
    """

    __slots__ = ("_input_limit", "_output", "_server", "connection", "most_pending", "sock")

    def __init__(self, server: FuzzedServer, sock: FakeSocket) -> None:
        self._server = server
        self.sock = sock
        self.connection = server.connect(sock)
        self.most_pending = 0
        # Looked at after every event, so without detours.
        self._output = self.connection.handler.output
        self._input_limit = MAX_REQUEST_BYTES + connection_module.READ_BYTES

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed."""
        return self.connection.state is ConnectionState.CLOSED

    def event(self, events: int, is_late: bool = False) -> None:
        """Report events to the connection, and check how much it holds afterwards.

        Args:
            events: Events as epoll reports them.
            is_late: Whether the loop iteration has used up its time.
        """
        loop = self._server.loop
        loop.budget.start_iteration(loop.now)
        loop.budget.is_spent = is_late
        self.connection.on_event(events)
        if self._output.pending_bytes > self.most_pending:
            self.most_pending = self._output.pending_bytes
        held = self.connection.handler.received_bytes
        if held > self._input_limit:
            raise FuzzFailure(f"{held} bytes of input are held")

    def go_straight(self) -> None:
        """Run the usual course: one or two reads, each answered at once, and the end."""
        sock = self.sock
        while sock.chunks and self._is_at_ease:
            self.event(EPOLLIN)
        if not (sock.chunks or self._output) and self._is_at_ease:
            sock.has_ended = True
            self.event(EPOLLIN)

    @property
    def _is_at_ease(self) -> bool:
        """Whether the connection only waits for data."""
        connection = self.connection
        waits = connection.events == EPOLLIN and not connection.queued_since
        return waits and not self.sock.is_closed

    def run_once(self, rng: Random | None = None) -> bool:
        """Run one step of the connection; return whether there was any."""
        connection, sock, server = self.connection, self.sock, self._server
        if connection.state is ConnectionState.CLOSED:
            return False
        if connection in server.to_send:
            del server.to_send[connection]
            events, connection.queued_events = connection.queued_events, 0
            connection.queued_since = 0.0
            self.event(events)
            return True
        if connection in server.held:
            del server.held[connection]
            connection.send_delayed_error()
            return True
        watched = connection.events
        events = EPOLLIN if watched & EPOLLIN and (sock.chunks or sock.has_ended) else 0
        if watched & EPOLLOUT and not (events and rng and rng.random() < 0.4):
            events |= EPOLLOUT
        if sock.is_broken and not (rng and rng.random() < 0.5):
            events |= EPOLLHUP
        if events:
            self.event(events, is_late=rng is not None and rng.random() < 0.1)
            return True
        if not sock.has_ended and connection.is_idle:
            sock.has_ended = True
            return True
        return False
