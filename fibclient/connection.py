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

from fibclient.answers import Request
from fibclient.cancellation import Cancellation
from fibclient.endpoints import Endpoint
from fibclient.errors import (
    ConnectionLost,
    DeadlineExceeded,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from fibclient.resp import (
    Reply,
    encode_request,
    read_bulk_header,
    read_bulk_trailer,
    read_reply,
)

__all__ = ["Connection"]

READ_AHEAD_BYTES = 256 * 1024
"""Up to here it takes less time to copy an answer than to ask the kernel again."""

FRESH_SECONDS = 0.1
"""A connection that was idle for less is used without a look at it: one that has ended meanwhile
is found out by the request, which is then said again on a new one."""

LOOKS = 100
"""About 40 µs: a ready answer is back in less, and going to sleep and waking up takes longer."""

UNLOOKED_CALLS = 15
"""After looking in vain so many calls do without, so that slow answers cost next to nothing."""

MAX_LINE_BYTES = 64 * 1024

RESET_ON_CLOSE = struct.pack("@ii", 1, 0)
"""Linux's struct linger: wait 0 s, and throw away what is on its way."""


class Connection:
    """A connection; not to be shared between threads at a time.

    Attributes:
        endpoint: whom it is to.
        deadline: of the call that uses it, monotonic, in seconds.
        idle_since: when its last reply was read to its end; for the pool to set.
        owes_reply: whether a request was sent whose reply was not read to its end.
        is_alone: whether no other request of the client is under way; for the pool to set.
        was_idle: whether it was idle before this call, and nothing has come since: if it ends,
            that says nothing of the server.
        expires_at: when it is too old to be used again; for the pool to set.
        cancellation: interrupts it, if the call has one; for the pool to set.
        is_interrupted: whether `interrupt` was called.
    """

    def __init__(self, endpoint: Endpoint, idle_timeout_seconds: float) -> None:
        """Describe a connection; `open` opens it.

        Args:
            endpoint: whom to connect to.
            idle_timeout_seconds: for each wait for more bytes, > 0.

        Raises:
            ServerUnreachable: there is no socket to be had.
        """
        self.endpoint = endpoint
        self.deadline = 0.0
        self.idle_since = 0.0
        self.was_idle = False
        self.is_alone = False
        self.owes_reply = False
        self.expires_at = 0.0
        self.cancellation: Cancellation | None = None
        self.is_interrupted = False
        self._idle_timeout = idle_timeout_seconds
        self._wait = 0.0
        self._unlooked = 0
        self._ahead = b""
        self._position = 0
        self._target = endpoint.target
        try:
            self._socket = socket.socket(self._target.family, socket.SOCK_STREAM)
        except OSError as error:
            raise ServerUnreachable(f"no socket for {self._target}: {_reason(error)}") from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def open(self, connect_timeout_seconds: float, password: str | None) -> None:
        """Connect, and say the password if there is one.

        Raises:
            ServerUnreachable: there is no connection to be had.
            RequestRefused: the password is wrong.
            ServerMisbehaved: this is no server.
        """
        sock = self._socket
        if self._target.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wait = min(connect_timeout_seconds, self.deadline - time.monotonic())
        if wait <= 0:
            raise DeadlineExceeded(f"no time was left to connect to {self._target}")
        try:
            sock.setblocking(False)
            number = sock.connect_ex(self._target.name)
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
            # Only from here on would an interruption end the wait.
            if self.is_interrupted:
                raise OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
            self._poll.modify(sock, select.POLLOUT)
            is_connected = self._poll.poll(wait * 1000)
            self._poll.modify(sock, select.POLLIN)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            sock.setblocking(True)
            self._bound(socket.SO_SNDTIMEO, self._idle_timeout)
        except OSError as error:
            raise ServerUnreachable(
                f"cannot connect to {self._target}: {_reason(error)}"
            ) from error
        if not is_connected:
            kind = DeadlineExceeded if wait < connect_timeout_seconds else ServerUnreachable
            raise kind(f"cannot connect to {self._target}: no connection within {wait:.3g} s")
        if password is not None:
            self.call("AUTH", password)

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
        self._send(encode_request(*words))
        self._look_for_reply()
        try:
            reply = read_reply(self)
        except RequestRefused:
            self.owes_reply = False
            raise
        self.owes_reply = False
        return reply

    def begin(self, request: Request) -> None:
        """Send a request, and read up to the first byte of the answer.

        Raises:
            as `call`.
        """
        self._send(request.encoded)
        self._look_for_reply()
        header = request.header
        reply_bytes = len(header) + request.size + len(b"\r\n")
        # A small reply comes in one piece; a byte more would be one that nobody asked for. Of a
        # large one only the header is read here: the answer is received where it is to stay.
        self._receive_more(reply_bytes + 1 if reply_bytes < READ_AHEAD_BYTES else len(header))
        if self._ahead.startswith(header):
            self._pass_over(len(header))
        else:
            self._read_header(request.size)

    def _read_header(self, size: int) -> None:
        try:
            read_bulk_header(self, size)
        except RequestRefused:
            self.owes_reply = False
            raise

    def end_answer(self) -> None:
        """Read what stands behind the last byte of a bulk string."""
        read_bulk_trailer(self)
        self.owes_reply = False

    def _look_for_reply(self) -> None:
        """Look for a reply some times before waiting for it puts the thread to sleep.

        A processor that falls idle takes its time to wake up: measured on a virtual machine, round
        trips of a lone caller take half as long with this. With several callers there is always
        something to do, and looking would only take time from them.
        """
        if not self.is_alone:
            return
        if self._unlooked:
            self._unlooked -= 1
            return
        for _ in range(LOOKS):
            if self._poll.poll(0):
                return
        self._unlooked = UNLOOKED_CALLS

    def _send(self, data: bytes) -> None:
        self.owes_reply = True
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

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
        end = self._ahead.find(b"\r\n", self._position)
        while end < 0:
            if len(self._ahead) - self._position > MAX_LINE_BYTES:
                raise ServerMisbehaved(f"no reply begins with {self._ahead[:32]!r}")
            self._receive_more(READ_AHEAD_BYTES)
            end = self._ahead.find(b"\r\n", self._position)
        line = self._ahead[self._position : end]
        self._pass_over(end + 2)
        return line

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        taken = b""
        while len(taken) < size:
            taken += self.receive(size - len(taken))
        return taken

    def pass_over(self, size: int) -> None:
        """Receive bytes that nobody wants."""
        while size > 0:
            size -= len(self.take(min(size, READ_AHEAD_BYTES)))

    def _pass_over(self, position: int) -> None:
        if position == len(self._ahead):
            self._ahead, self._position = b"", 0
        else:
            self._position = position

    def _receive_more(self, limit: int) -> None:
        """Receive at least a byte more of the beginning of a reply."""
        data = self._receive(limit)
        self.was_idle = False
        self._ahead = self._ahead[self._position :] + data if self._ahead else data
        self._position = 0

    def _receive(self, limit: int, flags: int = 0) -> bytes:
        self._prepare_wait()
        try:
            data = self._socket.recv(limit, flags)
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._ended()
        return data

    def _prepare_wait(self) -> None:
        wait = self.deadline - time.monotonic()
        if wait <= 0:
            raise self._too_late()
        if wait > self._idle_timeout:
            wait = self._idle_timeout
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

    def _lost(self, error: OSError) -> ServerUnreachable:
        if isinstance(error, BlockingIOError):
            return self._nothing_came()
        return ConnectionLost(f"lost {self._target}: {_reason(error)}")

    def _nothing_came(self) -> ServerUnreachable:
        if self._wait < self._idle_timeout:
            return self._too_late()
        return ServerUnreachable(f"nothing came from {self._target} for {self._wait:.3g} s")

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no whole answer from {self._target} in time")

    def _ended(self) -> ServerUnreachable:
        return ConnectionLost(f"lost {self._target}: it closed the connection")

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
        if self.owes_reply and self._target.family != socket.AF_UNIX:
            with suppress(OSError):  # it may be closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._socket.close()

    def forget(self) -> None:
        """Close what a forked child has inherited; the parent goes on with the connection."""
        self._socket.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
