"""One connection to a server: a request at a time, each with its reply.

OSError and the end of the stream become `ServerUnreachable` here, and nowhere else. After
any failure between a request and the end of its reply the connection must be closed, since
what arrives next would be taken for the reply to another request.

The socket is a blocking one, and the kernel bounds each wait (SO_RCVTIMEO, socket(7)): Python's
own timeouts cost a poll() before every send and recv, which doubles the system calls of a round
trip. A wait ends at the idle timeout or at the deadline of the call, whichever comes first, so a
server that drips is found out by the deadline and a silent one by the idle timeout. A signal would
begin a wait in the kernel anew, so the main thread, which gets them, polls all the same: there
Python counts on.

A connection that is closed while a reply is owed is reset: fibserver goes on with the requests of
a client that has merely half-closed its connection, and a reset is the only sign in TCP that
nobody waits for the reply. The end of a Unix socket says so by itself.
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
from fibclient.connections.encoded_slice import Request
from fibclient.connections.endpoints import Endpoint
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
"""Up to here it takes less time to copy an answer than to ask the kernel again."""

FRESH_SECONDS = 0.1
"""A connection that was idle for less is used without a look at it: one that has ended meanwhile
is found out by the request, which is then said again on a new one."""

SPIN_POLLS = 100
"""About 40 µs: a ready answer is back in less, and going to sleep and waking up takes longer."""

UNLOOKED_CALLS = 15
"""After looking in vain so many calls do without, so that slow answers cost next to nothing."""

MAX_LINE_BYTES = 64 * 1024

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

STEP_BYTES = 64 * 1024
"""A reply whose size only its header announces is received in steps of this size: allocating the
announced size at once would let a server fill the memory with a header."""

RESET_ON_CLOSE = struct.pack("@ii", 1, 0)
"""Linux's struct linger: wait 0 s, and throw away what is on its way."""


class Connection:
    """A connection; not to be shared between threads at a time.

    Attributes:
        endpoint: whom it is to.
        deadline: of the call that uses it, monotonic, in seconds.
        idle_since: when its last reply was read to its end; for the pool to set.
        owes_reply: whether a request was sent whose reply was not read to its end.
        may_spin: whether no other request of the client is under way; for the pool to set.
        was_idle: whether it was idle before this call, and nothing has come since: if it ends,
            that says nothing of the server.
        expires_at: when it is too old to be used again; for the pool to set.
        cancellation: interrupts it, if the call has one; for the pool to set.
        is_interrupted: whether `interrupt` was called.
        is_open: whether it was opened.
        started_at: when it was started to be opened, monotonic.
        target: the place that it is to.
    """

    def __init__(
        self, endpoint: Endpoint, idle_timeout_seconds: float, password: str | None = None
    ) -> None:
        """Describe a connection; `open` opens it.

        Args:
            endpoint: whom to connect to.
            idle_timeout_seconds: for each wait for more bytes, > 0.
            password: sent with AUTH before the first request; None for none.

        Raises:
            SocketShortage: there is no descriptor or memory for it.
            ServerUnreachable: the machine lacks this family of sockets.
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
        self._wait = self._longest = 0.0
        self._awaits_auth = False
        self._unlooked = 0
        self._ahead = b""
        self._position = 0
        self.target = endpoint.target
        try:
            self._socket = socket.socket(self.target.family, socket.SOCK_STREAM)
        except OSError as error:
            kind = SocketShortage if error.errno in SHORTAGES else ServerUnreachable
            raise kind(f"no socket for {self.target}: {_reason(error)}") from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor, for poll()."""
        return self._socket.fileno()

    def open(self, connect_timeout_seconds: float) -> None:
        """Connect.

        Raises:
            ServerUnreachable: there is no connection to be had.
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
        """Start to connect; poll() reports POLLOUT when it has succeeded or failed.

        Raises:
            ServerUnreachable: it failed at once.
        """
        self.started_at = time.monotonic()
        try:
            if self.target.family != socket.AF_UNIX:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            number = self._socket.connect_ex(self.target.name)
        except OSError as error:  # of a path that is too long
            raise self._not_connected(error) from error
        if number not in (0, errno.EINPROGRESS):
            raise self._not_connected(OSError(number, os.strerror(number)))
        if self.is_interrupted:  # before: then no event would end the wait
            raise self._not_connected(OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))

    def finish_opening(self) -> None:
        """Complete the connect after poll() has reported it, and send the password if any.

        The reply to AUTH is read with the reply to the first request, so that a server that
        accepts connections and never replies is detected by the hedge of that request.

        Raises:
            ServerUnreachable: it failed.
        """
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number and self.is_interrupted:
            number = errno.ECONNABORTED
        if number:
            raise self._not_connected(OSError(number, os.strerror(number)))
        self._socket.setblocking(True)
        self._bound(socket.SO_SNDTIMEO, self._idle_timeout)
        self.is_open = True
        if self._password is not None:
            self.send(encode_request("AUTH", self._password))
            self._awaits_auth = True

    def _not_connected(self, error: OSError) -> ServerUnreachable:
        return ServerUnreachable(f"cannot connect to {self.target}: {_reason(error)}")

    def is_stale(self, now: float) -> bool:
        """Tell whether bytes or an end have come that no request asked for.

        Args:
            now: monotonic, in seconds.
        """
        if self._ahead:
            return True
        return now >= self.idle_since + FRESH_SECONDS and bool(self._poll.poll(0))

    def call(self, *words: str | int) -> Reply:
        """Send a request and return its reply.

        Raises:
            RequestRefused: the server said no; the connection stays usable.
            ServerUnreachable: the connection broke or timed out.
            ServerMisbehaved: the reply makes no sense.
        """
        self.send(encode_request(*words))
        return self.read_reply()

    def send(self, data: bytes) -> None:
        """Send a request.

        Raises:
            ServerUnreachable: the connection is broken.
        """
        self.owes_reply = True
        try:
            self._socket.sendall(data)
        except BlockingIOError as error:
            raise ServerUnreachable(
                f"{self.target} took no request for {self._idle_timeout:.3g} s"
            ) from error
        except OSError as error:
            raise self._lost(error) from error

    def await_reply(self, limit: int, patience_seconds: float | None = None) -> bool:
        """Receive the beginning of the reply to a request.

        Args:
            limit: receive at most so many bytes, >= 1.
            patience_seconds: for the first of them; the idle timeout by default.

        Returns:
            whether anything came in that time.

        Raises:
            RequestRefused: the password is wrong.
            ServerUnreachable: nothing came for the idle timeout, or the connection broke.
        """
        if self.may_spin:
            self._spin_for_reply()
        try:
            self._receive_more(limit, patience_seconds)
        except _NothingYet:
            return False
        if self._awaits_auth:
            self._awaits_auth = False
            read_reply(self)  # after a refusal the reply to the request is still owed
        return True

    def read_reply(self) -> Reply:
        """Return the reply to a request other than for an answer.

        Raises:
            as `call`.
        """
        if not self._ahead:
            self.await_reply(STEP_BYTES)
        try:
            reply = read_reply(self)
        except RequestRefused:
            self._end_reply()
            raise
        self._end_reply()
        return reply

    def read_header(self, request: Request) -> None:
        """Read up to the first byte of an answer.

        Args:
            request: what it is the answer to, after `await_reply`.

        Raises:
            as `call`.
        """
        if self._ahead.startswith(request.header, self._position):
            self._pass_over(self._position + len(request.header))
            return
        try:
            read_bulk_header(self, request.size)
        except RequestRefused:
            self._end_reply()
            raise

    def _end_reply(self) -> None:
        """Note the end of a reply; bytes after it make the connection unusable."""
        self.owes_reply = bool(self._ahead)

    def end_answer(self) -> None:
        """Read what stands behind the last byte of a bulk string."""
        if self._ahead.startswith(b"\r\n", self._position):
            self._pass_over(self._position + 2)
        else:
            read_bulk_trailer(self)
        self._end_reply()

    def _spin_for_reply(self) -> None:
        """Look for a reply some times before waiting for it puts the thread to sleep.

        A processor that falls idle takes its time to wake up: measured on a virtual machine, round
        trips of a lone caller take half as long with this. With several callers there is always
        something to do, and looking would only take time from them.
        """
        if self._unlooked:
            self._unlooked -= 1
            return
        for _ in range(SPIN_POLLS):
            if self._poll.poll(0):
                return
        self._unlooked = UNLOOKED_CALLS

    def receive(self, limit: int) -> bytes:
        """Return some of what comes next: all of it, if it comes in time and nothing breaks.

        Args:
            limit: at most so many bytes, >= 1.
        """
        ahead = len(self._ahead) - self._position
        if ahead:
            received = self._ahead[self._position : self._position + limit]
            self._pass_over(self._position + len(received))
            return received
        # The kernel fills the very object that is returned, while other threads may run.
        return self._receive(limit, socket.MSG_WAITALL)

    def receive_into(self, view: memoryview) -> int:
        """Receive some of what comes next, at least a byte.

        Args:
            view: where to, not empty.

        Returns:
            how many bytes came.
        """
        if len(self._ahead) > self._position:
            received = self.receive(len(view))
            view[: len(received)] = received
            return len(received)
        self._prepare_wait()
        try:
            size = self._socket.recv_into(view)
        except OSError as error:
            raise self._lost(error) from error
        if not size:
            raise self._ended()
        return size

    def line(self) -> bytes:
        """Return the bytes up to the next CRLF, and pass over it."""
        while True:
            begin = self._position
            end = self._ahead.find(b"\r\n", begin, begin + MAX_LINE_BYTES + 2)
            if end >= 0:
                break
            unfinished = self._ahead[begin : begin + 32]
            # TLS has no lines: what follows would be the end of the connection.
            if len(self._ahead) - begin > MAX_LINE_BYTES or service_of(unfinished):
                raise invalid_beginning(unfinished)
            self._receive_more(STEP_BYTES)
        line = self._ahead[begin:end]
        self._pass_over(end + 2)
        return line

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes, for which room is made as they come."""
        taken = self.receive(min(size, STEP_BYTES)) if size else b""
        if len(taken) == size:
            return taken
        pieces, missing = [taken], size - len(taken)
        while missing:
            pieces.append(self.receive(min(missing, STEP_BYTES)))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Receive bytes that nobody wants."""
        while size > 0:
            size -= len(self.receive(min(size, READ_AHEAD_BYTES)))

    def _pass_over(self, position: int) -> None:
        if position == len(self._ahead):
            self._ahead, self._position = b"", 0
        else:
            self._position = position

    def _receive_more(self, limit: int, patience_seconds: float | None = None) -> None:
        """Receive at least a byte more of the beginning of a reply."""
        data = self._receive(limit, patience_seconds=patience_seconds)
        self.was_idle = False
        self._ahead = self._ahead[self._position :] + data if self._ahead else data
        self._position = 0

    def _receive(self, limit: int, flags: int = 0, patience_seconds: float | None = None) -> bytes:
        self._prepare_wait(patience_seconds)
        try:
            data = self._socket.recv(limit, flags)
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._ended()
        return data

    def _prepare_wait(self, patience_seconds: float | None = None) -> None:
        wait = self.deadline - time.monotonic()
        if wait <= 0:
            raise self._too_late()
        longest = self._idle_timeout
        if patience_seconds is not None and patience_seconds < longest:
            longest = patience_seconds
        self._longest = longest
        if wait > longest:
            wait = longest
        if wait != self._wait:
            self._bound(socket.SO_RCVTIMEO, wait)
            self._wait = wait
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not self._poll.poll(wait * 1000):
            raise self._nothing_came()

    def _bound(self, option: int, seconds: float) -> None:
        """Have the kernel end waits after some time, in Linux's struct timeval."""
        microseconds = max(1, int(seconds * 1e6))  # 0 would be for ever
        timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)

    def _lost(self, error: OSError) -> "ServerUnreachable | _NothingYet":
        if isinstance(error, BlockingIOError):
            return self._nothing_came()
        return ConnectionLost(f"lost {self.target}: {_reason(error)}")

    def _nothing_came(self) -> "ServerUnreachable | _NothingYet":
        if self._wait < self._longest:
            return self._too_late()
        if self._longest < self._idle_timeout:
            return _NothingYet()
        return ServerUnreachable(f"nothing came from {self.target} for {self._wait:.3g} s")

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no whole answer from {self.target} in time")

    def _ended(self) -> ServerUnreachable:
        return ConnectionLost(f"lost {self.target}: it closed the connection")

    def interrupt(self) -> None:
        """Wake the thread that waits for this connection; callable from any thread."""
        self.is_interrupted = True
        try:
            # For both directions the peer would see an end before the reset that is to follow.
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            return  # it was not connected, or has been closed meanwhile

    def close(self) -> None:
        """Close the connection, by a reset if a reply is owed."""
        if self.owes_reply and self.target.family != socket.AF_UNIX:
            with suppress(OSError):  # it may be closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._socket.close()

    def forget(self) -> None:
        """Close the descriptor in a forked child; set no option, the parent shares the socket."""
        self._socket.close()


class _NothingYet(Exception):
    """Nothing came within the patience of `await_reply`; no timeout has expired."""


def first_readable(first: Connection, second: Connection) -> Connection:
    """Wait for two connections; return the one where something came.

    Raises:
        ServerUnreachable: nothing came from either in the time for it.
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
            f"nothing came from {first.target} and {second.target} for {wait:.3g} s"
        )
    return first if first.fileno() in ready else second


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
