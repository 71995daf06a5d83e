"""An answer, and what of it is still on its way."""

import socket
from typing import NamedTuple

from fibweb.content.answer_file import AnswerFile
from fibweb.stats.access_record import AccessRecord

__all__ = ["MAX_VIEWS", "Outgoing", "Response"]

MAX_VIEWS = 64
"""For one system call: some MiB, which is more than the kernel has room for."""


class Response(NamedTuple):
    """An answer, ready to be sent.

    Attributes:
        exchange: what is known of it so far; nothing has been sent, no time has passed.
        header: as it travels.
        body: empty if there is a file.
        file: the body, if it is large.
        closes: whether the connection ends with it.
        is_cacheable: whether the same request will be answered the same.
    """

    exchange: AccessRecord
    header: bytes
    body: bytes
    file: AnswerFile | None
    closes: bool
    is_cacheable: bool


class Outgoing:
    """Bytes on their way to a client: a header, with a small body, and a file.

    Attributes:
        sent: how many the kernel has taken.
    """

    def __init__(self, data: bytes, file: AnswerFile | None, sent: int = 0) -> None:
        """Describe what is to be sent.

        Args:
            data: goes first.
            file: goes next, from its current position on.
            sent: how many bytes of both are sent already.
        """
        self.sent = sent
        self.file = file
        self._data = memoryview(data)[sent:]
        if file is not None:
            file.advance(max(0, sent - len(data)))

    @property
    def is_sent(self) -> bool:
        """Whether the kernel has taken all of it."""
        return not self._data and (self.file is None or self.file.is_at_end)

    @property
    def held_bytes(self) -> int:
        """How many bytes this keeps in memory: small bodies, and a piece that was fetched."""
        return len(self._data) + (self.file.held_bytes if self.file else 0)

    def send(self, to: socket.socket) -> bool:
        """Send what is in memory, as far as a socket takes it.

        Returns:
            whether the socket is full; else all is sent, or something has to be fetched.

        Raises:
            OSError: the connection is broken.
        """
        while True:
            views = self.file.views() if self.file else ()
            batch = [self._data, *views[:MAX_VIEWS]] if self._data else list(views[:MAX_VIEWS])
            if not batch:
                return False
            try:
                sent = to.sendmsg(batch)
            except BlockingIOError:
                return True
            self.sent += sent
            of_data = min(sent, len(self._data))
            self._data = self._data[of_data:]
            if self.file is not None:
                self.file.advance(sent - of_data)
            if sent < sum(map(len, batch)):
                return True

    def close(self) -> None:
        """Let go of what was not sent."""
        self._data = memoryview(b"")
        if self.file is not None:
            self.file.close()
