"""The output of one connection: bytes, views of shared memory, and answers in the making.

A queue of what is owed to a client, in the order of its requests. It knows no socket: the
connection asks what to send next, and says how much of it the socket took.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

from fibserver.answer import Answer

__all__ = ["Buffer", "Output"]

Buffer: TypeAlias = bytes | memoryview

MAX_PENDING_PIECES = 1024
MAX_PENDING_BYTES = 1024 * 1024
"""An output that holds more than this is full; shared memory does not count."""

MAX_BUFFERS = 64
MAX_SEND_BYTES = 1024 * 1024
"""What is sent at a time; the other connections wait so long."""


class Output:
    """What is owed to one client."""

    __slots__ = ("_pending_bytes", "_pieces")

    def __init__(self) -> None:
        self._pieces: deque[Buffer | Answer] = deque()
        self._pending_bytes = 0  # of bytes objects

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def is_full(self) -> bool:
        """Whether so much is pending that no more requests should be taken."""
        return len(self._pieces) >= MAX_PENDING_PIECES or self._pending_bytes >= MAX_PENDING_BYTES

    @property
    def answer_at_head(self) -> Answer | None:
        """The answer whose bytes are the next to send, if it is an answer's turn."""
        head = self._pieces[0] if self._pieces else None
        return head if isinstance(head, Answer) else None

    def push(self, buffers: Iterable[Buffer]) -> None:
        """Add ready bytes."""
        for buffer in buffers:
            if buffer:
                self._pieces.append(buffer)
            if isinstance(buffer, bytes):
                self._pending_bytes += len(buffer)

    def push_answer(self, answer: Answer) -> None:
        """Add an answer in the making; what is pushed after it waits for it."""
        self._pieces.append(answer)

    def take_buffers(self) -> list[Buffer]:
        """Empty an output in which no answer waits, and return what it held."""
        buffers = [piece for piece in self._pieces if not isinstance(piece, Answer)]
        self.clear()
        return buffers

    def clear(self) -> None:
        """Forget everything; answers ask for no more blocks."""
        for piece in self._pieces:
            if isinstance(piece, Answer):
                piece.stop()
        self._pieces.clear()
        self._pending_bytes = 0

    def next_buffers(self) -> list[Buffer]:
        """Return the buffers to send next; they stay until they are dropped."""
        answer = self.answer_at_head
        if answer is not None:
            self._take_from(answer)
        buffers: list[Buffer] = []
        size = 0
        for piece in islice(self._pieces, MAX_BUFFERS):
            if isinstance(piece, Answer) or size >= MAX_SEND_BYTES:
                break
            if size + len(piece) > MAX_SEND_BYTES:
                piece = memoryview(piece)[: MAX_SEND_BYTES - size]
            buffers.append(piece)
            size += len(piece)
        return buffers

    def _take_from(self, answer: Answer) -> None:
        """Move what the answer at the head has to send before it."""
        buffers, is_whole = answer.take()
        self._pieces.popleft()
        if is_whole:
            answer.stop()
        else:
            answer.start()  # so that the rest is computed while this is sent
            self._pieces.appendleft(answer)
        for buffer in reversed(buffers):
            if buffer:
                self._pieces.appendleft(buffer)
            if isinstance(buffer, bytes):
                self._pending_bytes += len(buffer)

    def drop(self, sent: int) -> None:
        """Remove the first `sent` bytes."""
        while sent:
            piece = self._pieces[0]
            assert not isinstance(piece, Answer), "no byte of it was sent"
            if isinstance(piece, bytes):
                self._pending_bytes -= len(piece)
            if sent < len(piece):
                self._pieces[0] = memoryview(piece)[sent:]
                return
            sent -= len(piece)
            self._pieces.popleft()
