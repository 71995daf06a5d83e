"""An answer, and what of it is still on its way."""

import socket
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from fibweb.answer_file import AnswerFile
from fibweb.http.exchange import Exchange

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
        is_replayable: whether the same request will be answered the same.
    """

    exchange: Exchange
    header: bytes
    body: bytes
    file: AnswerFile | None
    closes: bool
    is_replayable: bool


class Outgoing:
    """Bytes on their way to a client.

    Attributes:
        sent: how many the kernel has taken.
    """

    def __init__(
        self,
        data: bytes,
        views: Sequence[memoryview],
        file: AnswerFile | None,
        sent: int = 0,
    ) -> None:
        """Describe what is to be sent.

        Args:
            data: goes first.
            views: go next.
            file: goes last, from its current position on.
            sent: how many bytes of `data` and `views` are sent already.
        """
        self.sent = sent
        self._views = deque(view for view in (memoryview(data), *views) if view)
        self._file = file
        self._skip(sent)

    @property
    def is_sent(self) -> bool:
        """Whether the kernel has taken all of it."""
        return not self._views and self._file is None

    @property
    def missing(self) -> AnswerFile | None:
        """The file whose next segment has to be fetched before more can be sent."""
        file = self._file
        return file if not self._views and file and not file.is_at_hand else None

    def send(self, to: socket.socket) -> None:
        """Send what a socket takes and what is at hand.

        Raises:
            OSError: the connection is broken.
        """
        while True:
            if self._file is not None and self._file.is_at_hand:
                taken = self._file.take()
                self._views.extend(taken)
                if not taken:
                    self._file = None  # that was all
            if not self._views:
                return
            batch = list(islice(self._views, MAX_VIEWS))
            try:
                sent = to.sendmsg(batch)
            except BlockingIOError:
                return
            self.sent += sent
            self._skip(sent)
            if sent < sum(map(len, batch)):
                return

    def _skip(self, count: int) -> None:
        while count:
            view = self._views.popleft()
            if count < len(view):
                self._views.appendleft(view[count:])
                return
            count -= len(view)

    def close(self) -> None:
        """Let go of what was not sent."""
        self._views.clear()
        if self._file is not None:
            self._file.close()
