"""Non-blocking output of log lines to standard error.

A stopped terminal, a full pipe or a journal that hangs must not block the event loop that logs.
A line that cannot be written at once is dropped; the next line that can be written is preceded by
the number of dropped lines.

O_NONBLOCK is a flag of the open file description, which the shell and other processes share
through their own descriptors, so it must not be set on descriptor 2. Instead:

    socket (the journal)  send(2) with MSG_DONTWAIT
    pipe, terminal        a separate file description, opened through /proc with O_NONBLOCK;
                          where that is not permitted, poll(2) and pieces of PIPE_BUF bytes, for
                          which a writable pipe has room unless another process is faster; a
                          terminal may have less
    file                  write(2), which waits only for the disk

A partly written line is completed before anything else is written.

The separate descriptor is opened by the first write, and again after a fork, because a worker
closes the descriptors that it inherits.
"""

import os
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

__all__ = ["STANDARD_ERROR", "NonBlockingOutput"]

STANDARD_ERROR = 2


class NonBlockingOutput:
    """Non-blocking writer of lines to a descriptor. Thread-safe."""

    def __init__(self, descriptor: int) -> None:
        """Create the writer; the first write opens what it needs.

        Args:
            descriptor: Descriptor to write to.
        """
        self._descriptor = descriptor
        self._lost_line: Callable[[int], bytes] = lambda count: b"%d lines lost\n" % count
        self._own: socket.socket | int | None = None
        self._write: Callable[[bytes], int] | None = None
        self.after_fork()

    def configure(self, lost_line: Callable[[int], bytes]) -> None:
        """Set the report of lost lines, and inspect the descriptor again with the next write.

        Args:
            lost_line: Returns the line that reports a number of lost lines.
        """
        self.close()
        self._lost_line = lost_line

    def close(self) -> None:
        """Close the separate descriptor; the next write opens it again."""
        own, self._own, self._write = self._own, None, None
        if isinstance(own, socket.socket):
            own.close()
        elif own is not None:
            os.close(own)

    def after_fork(self) -> None:
        """Reset the lock and the pending output in a child process."""
        self.close()
        self._lock = threading.RLock()
        self._rest = b""
        self._lost = 0

    def write(self, line: bytes) -> None:
        """Write a line, or drop it and count it as lost."""
        with self._lock:
            if self._lost:
                line = self._lost_line(self._lost) + line
            self._lost = 0 if self._put(line) else self._lost + 1

    def flush(self) -> None:
        """Try to write the rest of the last line and the number of lost lines."""
        with self._lock:
            if self._lost and self._put(self._lost_line(self._lost)):
                self._lost = 0
            elif self._rest:
                self._put(b"")

    def _put(self, data: bytes) -> bool:
        """Write the rest of the last line, then data; return whether any of data was written."""
        if self._write is None:
            self._write = self._open()
        pending = self._rest + data
        try:
            written = self._write(pending)
        except OSError:  # EAGAIN, or the reader is gone: EPIPE, EIO
            return False
        is_begun = written > len(self._rest)
        self._rest = (pending if is_begun else self._rest)[written:]
        return is_begun

    def _open(self) -> Callable[[bytes], int]:
        descriptor = self._descriptor
        if descriptor == STANDARD_ERROR and sys.__stderr__ is None:
            return len  # it was closed at the start; another file may have its number by now
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISSOCK(mode):
                self._own = sock = socket.socket(fileno=os.dup(descriptor))
                return lambda data: sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                self._own = own = os.open(f"/proc/self/fd/{descriptor}", flags)
                return partial(os.write, own)
        except OSError:  # no permission, as after su, or no free descriptor
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            return partial(_write_if_writable, poller, descriptor)
        return partial(os.write, descriptor)


def _write_if_writable(poller: select.poll, descriptor: int, data: bytes) -> int:
    written = 0
    with suppress(OSError):  # earlier pieces count as written
        while written < len(data) and poller.poll(0):
            written += os.write(descriptor, data[written : written + select.PIPE_BUF])
    return written
