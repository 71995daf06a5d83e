"""Connection to a server: one request at a time, each followed by its reply.

Socket errors and the end of the stream become `ServerUnreachable` here. After a failure between
a request and the end of its reply the connection must be closed: the bytes that arrive next
would be taken for the reply to another request.

The socket is blocking, and the kernel bounds each wait (SO_RCVTIMEO, socket(7)): Python's own
timeouts cost a poll() before every send and recv, which doubles the system calls of a round trip.
A wait ends at the idle timeout, which detects a silent server, or at the deadline of the call,
which detects one that sends too slowly. A signal would restart a wait in the kernel, so the main
thread, which handles signals, polls first: Python resumes poll() with the remaining time.

A connection that is closed while a reply is owed is reset. fibserver keeps serving a client that
has only half-closed its connection, and in TCP a reset is the only sign that the client does not
wait for the reply. On a Unix socket closing is sign enough.
"""

import errno
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress

from fibclient.cancellation import Cancellation
from fibclient.connections.encoded_slice import SliceRequest
from fibclient.connections.endpoint import Endpoint
from fibclient.connections.other_services import service_of
from fibclient.connections.resp import (
    Reply,
    encode_request,
    invalid_beginning,
    read_bulk_header,
    read_bulk_trailer,
    read_reply,
)
from fibclient.errors import (
    ConnectionLost,
    DeadlineExceeded,
    RequestRefused,
    ServerUnreachable,
    SocketShortage,
)

__all__ = ["READ_AHEAD_BYTES", "STEP_BYTES", "Connection", "first_readable"]

READ_AHEAD_BYTES = 256 * 1024
"""Smaller replies are received at once and then copied, which is faster than another recv()."""

FRESH_SECONDS = 0.1
"""A connection that was idle for less is reused without a check: if the server has closed it
meanwhile, the request fails and is repeated on a new one."""

SPIN_POLLS = 100
"""Polls for a reply before sleeping, about 40 µs in total: a cached reply arrives sooner, and
sleeping and waking up takes longer."""

CALLS_WITHOUT_SPIN = 15
"""Calls that do not spin after one that spun in vain: spinning for slow replies is wasted."""

MAX_LINE_BYTES = 64 * 1024

SHORTAGE_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

STEP_BYTES = 64 * 1024
"""Step in which a reply of unknown size is received: allocating the size that its header announces
would let a server exhaust memory with a header."""

RESET_ON_CLOSE = struct.pack("@ii", 1, 0)
"""Linux's struct linger for a close() that discards unsent bytes and sends a reset."""


class Connection:
    """A connection to an endpoint; used by one thread at a time.

    All times are monotonic, in seconds. The pool sets `idle_since`, `may_spin`, `expires_at` and
    `cancellation`.

    Attributes:
        endpoint: Endpoint that it connects to.
        deadline: Deadline of the call that uses it.
        idle_since: When its last reply was read to its end.
        owes_reply: Whether a request was sent whose reply was not read to its end.
        may_spin: Whether no other request of the client is in flight.
        was_idle: Whether it was idle before this call and has received nothing since: if it is
            closed now, the server is not at fault.
        expires_at: When it becomes too old for another call.
        cancellation: Cancellation of the call that uses it, if any.
        is_interrupted: Whether `interrupt` was called.
        is_open: Whether it was opened.
        started_at: When `start_opening` was called.
        target: Address that it connects to.
    """

    def __init__(
        self, endpoint: Endpoint, idle_timeout_seconds: float, password: str | None = None
    ) -> None:
        """Create a socket; `open` connects it.

        Args:
            endpoint: Endpoint to connect to.
            idle_timeout_seconds: Timeout of each wait for more bytes, > 0.
            password: Password to send with AUTH before the first request; None for none.

        Raises:
            SocketShortage: No descriptor or memory is left for the socket.
            ServerUnreachable: The machine does not support this family of sockets.
        """
        self.endpoint = endpoint
        self.deadline = 0.0
        self.idle_since = 0.0
        self.was_idle = False
        self.may_spin = False
        self.owes_reply = False
        self.expires_at = 0.0
        self.cancellation: Cancellation | None = None
        self.is_interrupted = False
        self.is_open = False
        self.started_at = 0.0
        self._idle_timeout = idle_timeout_seconds
        self._password = password
        self._wait = self._max_wait = 0.0
        self._awaits_auth = False
        self._calls_without_spin = 0
        self._buffer = b""
        self._position = 0
        self.target = endpoint.target
        try:
            self._socket = socket.socket(self.target.family, socket.SOCK_STREAM)
        except OSError as error:
            kind = SocketShortage if error.errno in SHORTAGE_ERRNOS else ServerUnreachable
            raise kind(f"cannot create a socket for {self.target}: {_reason(error)}") from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def fileno(self) -> int:
        """Return the file descriptor, for poll()."""
        return self._socket.fileno()

    def open(self, connect_timeout_seconds: float) -> None:
        """Connect to the endpoint.

        Raises:
            ServerUnreachable: Connecting failed or timed out.
        """
        self.start_opening()
        self._poll.modify(self._socket, select.POLLOUT)
        if not self._poll.poll(connect_timeout_seconds * 1000):
            raise ServerUnreachable(
                f"cannot connect to {self.target}: "
                f"no connection within {connect_timeout_seconds:.3g} s"
            )
        self._poll.modify(self._socket, select.POLLIN)
        self.finish_opening()

    def start_opening(self) -> None:
        """Start to connect; poll() reports POLLOUT on success and on failure.

        Raises:
            ServerUnreachable: Connecting failed at once.
        """
        self.started_at = time.monotonic()
        try:
            if self.target.family != socket.AF_UNIX:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            number = self._socket.connect_ex(self.target.name)
        except OSError as error:  # the path of a Unix socket is too long
            raise self._not_connected(error) from error
        if number not in (0, errno.EINPROGRESS):
            raise self._not_connected(OSError(number, os.strerror(number)))
        if self.is_interrupted:  # too early for an event to end the wait
            raise self._not_connected(OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))

    def finish_opening(self) -> None:
        """Complete the connect after poll() has reported it, and send the password if any.

        The reply to AUTH is read with that to the first request, so that hedging covers a server
        that accepts connections but never replies.

        Raises:
            ServerUnreachable: Connecting failed.
        """
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number and self.is_interrupted:
            number = errno.ECONNABORTED
        if number:
            raise self._not_connected(OSError(number, os.strerror(number)))
        self._socket.setblocking(True)
        self._set_timeout(socket.SO_SNDTIMEO, self._idle_timeout)
        self.is_open = True
        if self._password is not None:
            self.send(encode_request("AUTH", self._password))
            self._awaits_auth = True

    def _not_connected(self, error: OSError) -> ServerUnreachable:
        return ServerUnreachable(f"cannot connect to {self.target}: {_reason(error)}")

    def is_stale(self, now: float) -> bool:
        """Return whether the server has sent unexpected bytes or closed the connection.

        Args:
            now: Current monotonic time.
        """
        if self._buffer:
            return True
        return now >= self.idle_since + FRESH_SECONDS and bool(self._poll.poll(0))

    def call(self, *args: str | int) -> Reply:
        """Send a request and return its reply.

        Raises:
            RequestRefused: The server rejected the request; the connection stays usable.
            ServerUnreachable: The connection broke or timed out.
            ServerMisbehaved: The reply is invalid.
        """
        self.send(encode_request(*args))
        return self.read_reply()

    def send(self, data: bytes) -> None:
        """Send a request.

        Raises:
            ServerUnreachable: The connection broke, or the server stopped reading.
        """
        self.owes_reply = True
        try:
            self._socket.sendall(data)
        except BlockingIOError as error:
            raise ServerUnreachable(
                f"cannot send to {self.target}: no progress for {self._idle_timeout:.3g} s"
            ) from error
        except OSError as error:
            raise self._wrap(error) from error

    def await_reply(self, limit: int, hedge_delay_seconds: float | None = None) -> bool:
        """Receive the beginning of the reply to a request.

        Args:
            limit: Maximum number of bytes to receive, >= 1.
            hedge_delay_seconds: Longest wait for the first byte; the idle timeout by default.

        Returns:
            Whether anything arrived in that time.

        Raises:
            RequestRefused: The server rejected the password.
            ServerUnreachable: The wait timed out, or the connection broke.
        """
        if self.may_spin:
            self._spin_for_reply()
        try:
            self._receive_more(limit, hedge_delay_seconds)
        except _HedgeDelayExpired:
            return False
        if self._awaits_auth:
            self._awaits_auth = False
            read_reply(self)  # if this raises, the reply to the request is still owed
        return True

    def read_reply(self) -> Reply:
        """Return the reply to a request for anything but a slice.

        Raises:
            FibError: As for `call`.
        """
        if not self._buffer:
            self.await_reply(STEP_BYTES)
        try:
            reply = read_reply(self)
        except RequestRefused:
            self._end_reply()
            raise
        self._end_reply()
        return reply

    def read_header(self, request: SliceRequest) -> None:
        """Read the header of the reply to a request for a slice, after `await_reply`.

        Args:
            request: The request that was sent.

        Raises:
            FibError: As for `call`.
        """
        if self._buffer.startswith(request.header, self._position):
            self._advance_to(self._position + len(request.header))
            return
        try:
            read_bulk_header(self, request.size)
        except RequestRefused:
            self._end_reply()
            raise

    def _end_reply(self) -> None:
        """Note the end of a reply; bytes after it make the connection unusable."""
        self.owes_reply = bool(self._buffer)

    def read_trailer(self) -> None:
        """Read the end of the reply to a request for a slice, after its last byte."""
        if self._buffer.startswith(b"\r\n", self._position):
            self._advance_to(self._position + 2)
        else:
            read_bulk_trailer(self)
        self._end_reply()

    def _spin_for_reply(self) -> None:
        """Poll for the reply a few times before a wait puts the thread to sleep.

        An idle processor takes time to wake up: on a virtual machine this halves the round trips
        of a single caller. With several callers it would only take time from the others.
        """
        if self._calls_without_spin:
            self._calls_without_spin -= 1
            return
        for _ in range(SPIN_POLLS):
            if self._poll.poll(0):
                return
        self._calls_without_spin = CALLS_WITHOUT_SPIN

    def receive(self, limit: int) -> bytes:
        """Return the next bytes, at least one.

        Without buffered bytes, wait for `limit` of them; a timeout or the end cuts this short.

        Args:
            limit: Maximum number of bytes, >= 1.
        """
        if len(self._buffer) > self._position:
            received = self._buffer[self._position : self._position + limit]
            self._advance_to(self._position + len(received))
            return received
        # The kernel fills the returned object itself, while other threads run.
        return self._receive(limit, socket.MSG_WAITALL)

    def receive_into(self, view: memoryview) -> int:
        """Receive the next bytes into a buffer, at least one.

        Args:
            view: The buffer, not empty.

        Returns:
            The number of bytes received.
        """
        if len(self._buffer) > self._position:
            received = self.receive(len(view))
            view[: len(received)] = received
            return len(received)
        self._prepare_wait()
        try:
            size = self._socket.recv_into(view)
        except OSError as error:
            raise self._wrap(error) from error
        if not size:
            raise self._closed_by_server()
        return size

    def read_line(self) -> bytes:
        """Return the bytes up to the next CRLF, and skip it."""
        while True:
            begin = self._position
            end = self._buffer.find(b"\r\n", begin, begin + MAX_LINE_BYTES + 2)
            if end >= 0:
                break
            unfinished = self._buffer[begin : begin + 32]
            # A TLS server closes the connection without sending a line: recognise it now.
            if len(self._buffer) - begin > MAX_LINE_BYTES or service_of(unfinished):
                raise invalid_beginning(unfinished)
            self._receive_more(STEP_BYTES)
        line = self._buffer[begin:end]
        self._advance_to(end + 2)
        return line

    def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes; memory is allocated as they arrive."""
        taken = self.receive(min(size, STEP_BYTES)) if size else b""
        if len(taken) == size:
            return taken
        pieces, missing = [taken], size - len(taken)
        while missing:
            pieces.append(self.receive(min(missing, STEP_BYTES)))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Receive and discard `size` bytes."""
        while size > 0:
            size -= len(self.receive(min(size, READ_AHEAD_BYTES)))

    def _advance_to(self, position: int) -> None:
        if position == len(self._buffer):
            self._buffer, self._position = b"", 0
        else:
            self._position = position

    def _receive_more(self, limit: int, hedge_delay_seconds: float | None = None) -> None:
        """Receive at least one more byte into the buffer."""
        data = self._receive(limit, hedge_delay_seconds=hedge_delay_seconds)
        self.was_idle = False
        self._buffer = self._buffer[self._position :] + data if self._buffer else data
        self._position = 0

    def _receive(
        self, limit: int, flags: int = 0, hedge_delay_seconds: float | None = None
    ) -> bytes:
        self._prepare_wait(hedge_delay_seconds)
        try:
            data = self._socket.recv(limit, flags)
        except OSError as error:
            raise self._wrap(error) from error
        if not data:
            raise self._closed_by_server()
        return data

    def _prepare_wait(self, hedge_delay_seconds: float | None = None) -> None:
        wait = self.deadline - time.monotonic()
        if wait <= 0:
            raise self._too_late()
        max_wait = self._idle_timeout
        if hedge_delay_seconds is not None and hedge_delay_seconds < max_wait:
            max_wait = hedge_delay_seconds
        self._max_wait = max_wait
        if wait > max_wait:
            wait = max_wait
        if wait != self._wait:
            self._set_timeout(socket.SO_RCVTIMEO, wait)
            self._wait = wait
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not self._poll.poll(wait * 1000):
            raise self._nothing_received()

    def _set_timeout(self, option: int, seconds: float) -> None:
        """Set one of the kernel's timeouts, as Linux's struct timeval."""
        microseconds = max(1, int(seconds * 1e6))  # 0 would mean no timeout
        timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)

    def _wrap(self, error: OSError) -> "ServerUnreachable | _HedgeDelayExpired":
        if isinstance(error, BlockingIOError):
            return self._nothing_received()
        return ConnectionLost(f"connection to {self.target} lost: {_reason(error)}")

    def _nothing_received(self) -> "ServerUnreachable | _HedgeDelayExpired":
        if self._wait < self._max_wait:
            return self._too_late()
        if self._max_wait < self._idle_timeout:
            return _HedgeDelayExpired()
        return ServerUnreachable(f"nothing received from {self.target} for {self._wait:.3g} s")

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"deadline exceeded before {self.target} sent the whole reply")

    def _closed_by_server(self) -> ServerUnreachable:
        return ConnectionLost(f"connection to {self.target} lost: closed by the server")

    def interrupt(self) -> None:
        """Wake the thread that waits for this connection; callable from any thread."""
        self.is_interrupted = True
        try:
            # SHUT_RDWR would send the peer an end of stream before the reset.
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            return  # not connected, or already closed

    def close(self) -> None:
        """Close the connection, with a reset if a reply is owed."""
        if self.owes_reply and self.target.family != socket.AF_UNIX:
            with suppress(OSError):  # already closed
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._socket.close()

    def close_after_fork(self) -> None:
        """Close the descriptor in a forked child; no reset, since the parent shares the socket."""
        self._socket.close()


class _HedgeDelayExpired(Exception):
    """Nothing arrived within the hedge delay; no timeout has expired."""


def first_readable(first: Connection, second: Connection) -> Connection:
    """Wait for two connections; return the one that becomes readable first.

    Raises:
        ServerUnreachable: Nothing arrived within the idle timeout, or before the deadline.
    """
    poll = select.poll()
    poll.register(first, select.POLLIN)
    poll.register(second, select.POLLIN)
    idle_timeout = first._idle_timeout
    wait = min(first.deadline - time.monotonic(), idle_timeout)
    ready = {fd for fd, _ in poll.poll(max(0.0, wait) * 1000)}
    if not ready and wait < idle_timeout:
        raise first._too_late()
    if not ready:
        raise ServerUnreachable(
            f"nothing received from {first.target} and {second.target} for {wait:.3g} s"
        )
    return first if first.fileno() in ready else second


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
