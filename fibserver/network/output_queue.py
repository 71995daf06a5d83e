"""Output queue of one connection: bytes, and streams whose bytes are produced meanwhile.

It holds the pending replies in the order of the requests, but no socket: the connection fetches
the next buffers from it, and reports how many bytes the socket accepted.
"""

from collections import deque

from fibserver.engine.stream import Buffer, Stream

__all__ = ["MAX_SEND_BYTES", "OutputQueue"]

MAX_PENDING_PIECES = 1024
MAX_PENDING_BYTES = 128 * 1024
"""Size at which an output is full, which it exceeds by one reply at most; streams do not count."""

MAX_BUFFERS = 64
MAX_SEND_BYTES = 1024 * 1024
"""Bytes per system call at most, because the other connections wait for it."""


class OutputQueue:
    """Pending replies to one client.

    Attributes:
        pieces: Buffers and streams in the order of sending; callers only read it.
        pending_bytes: Bytes still to be sent, without those of streams.
    """

    __slots__ = ("_offered", "_sent_of_head", "pending_bytes", "pieces")

    def __init__(self) -> None:
        self.pieces: deque[Buffer | Stream] = deque()
        self._offered: deque[int] = deque()  # bytes of each stream in `next_buffers`
        self.pending_bytes = 0
        self._sent_of_head = 0  # a buffer stays allocated until all of it is sent

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that the output takes, without shared memory."""
        return self.pending_bytes + self._sent_of_head

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def is_full(self) -> bool:
        """Whether too much output is pending to execute further requests."""
        return len(self.pieces) >= MAX_PENDING_PIECES or self.pending_bytes >= MAX_PENDING_BYTES

    @property
    def stream_at_head(self) -> Stream | None:
        """The stream at the head of the queue, None if the head is a buffer."""
        head = self.pieces[0] if self.pieces else None
        return None if isinstance(head, Buffer) else head

    def push(self, buffer: Buffer) -> None:
        """Append a buffer, which must not be empty."""
        self.pieces.append(buffer)
        self.pending_bytes += len(buffer)

    def push_stream(self, stream: Stream) -> None:
        """Append a stream; later pieces wait until all of it is sent."""
        self.pieces.append(stream)

    def clear(self) -> None:
        """Discard all output, and stop its streams."""
        for piece in self.pieces:
            if not isinstance(piece, Buffer):
                piece.stop()
        self.pieces.clear()
        self.pending_bytes = 0
        self._sent_of_head = 0

    def next_buffers(self) -> list[Buffer]:
        """Return the buffers to send next; `consume` removes them."""
        buffers: list[Buffer] = []
        size = 0
        self._offered.clear()
        for piece in self.pieces:
            if size >= MAX_SEND_BYTES or len(buffers) >= MAX_BUFFERS:
                break
            if isinstance(piece, Buffer):
                if len(piece) > MAX_SEND_BYTES - size:
                    buffers.append(memoryview(piece)[: MAX_SEND_BYTES - size])
                    break
                buffers.append(piece)
                size += len(piece)
                continue
            ready = piece.buffers(MAX_SEND_BYTES - size)
            offered = sum(map(len, ready))
            self._offered.append(offered)
            buffers += ready
            size += offered
            if offered < piece.bytes_left:
                break
        return buffers

    def consume(self, sent: int) -> None:
        """Remove the first `sent` bytes of what `next_buffers` returned."""
        while sent:
            piece = self.pieces[0]
            if not isinstance(piece, Buffer):
                size = min(sent, self._offered.popleft())
                piece.consume(size)
                if not piece.is_done:
                    return
                piece.stop()
            else:
                size = min(sent, len(piece))
                self.pending_bytes -= size
                if size < len(piece):
                    self.pieces[0] = memoryview(piece)[size:]
                    self._sent_of_head += size
                    return
                self._sent_of_head = 0
            sent -= size
            self.pieces.popleft()
