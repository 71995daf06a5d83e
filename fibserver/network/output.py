"""The output of one connection: bytes, and answers that are sent from shared memory.

A queue of what is owed to a client, in the order of its requests. It knows no socket: the
connection asks what to send next, and says how much of it the socket took.
"""

from collections import deque

from fibserver.engine.slice_stream import Buffer, SliceStream

__all__ = ["MAX_SEND_BYTES", "Output"]

MAX_PENDING_PIECES = 1024
MAX_PENDING_BYTES = 128 * 1024
"""An output that holds more than this is full, and takes no more than one reply beyond it; shared
memory does not count."""

MAX_BUFFERS = 64
MAX_SEND_BYTES = 1024 * 1024
"""What is sent at a time; the other connections wait so long."""


class Output:
    """What is owed to one client.

    Attributes:
        pieces: what it holds, in order; for others to look at.
        pending_bytes: how many bytes are still to be sent, those of answers aside.
    """

    __slots__ = ("_offered", "_sent_of_head", "pending_bytes", "pieces")

    def __init__(self) -> None:
        self.pieces: deque[Buffer | SliceStream] = deque()
        self._offered: deque[int] = deque()  # by the answers among what is to be sent next
        self.pending_bytes = 0
        self._sent_of_head = 0  # a piece that is sent in part is still held whole

    @property
    def held_bytes(self) -> int:
        """How many bytes of memory it takes."""
        return self.pending_bytes + self._sent_of_head

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def is_full(self) -> bool:
        """Whether so much is pending that no more requests should be taken."""
        return len(self.pieces) >= MAX_PENDING_PIECES or self.pending_bytes >= MAX_PENDING_BYTES

    @property
    def stream_at_head(self) -> SliceStream | None:
        """The answer whose bytes are the next to send, if it is an answer's turn."""
        head = self.pieces[0] if self.pieces else None
        return head if isinstance(head, SliceStream) else None

    def push(self, buffer: Buffer) -> None:
        """Add ready bytes, at least one."""
        self.pieces.append(buffer)
        self.pending_bytes += len(buffer)

    def push_stream(self, answer: SliceStream) -> None:
        """Add an answer; what is pushed after it waits for it."""
        self.pieces.append(answer)

    def clear(self) -> None:
        """Forget everything; answers ask for no more blocks."""
        for piece in self.pieces:
            if isinstance(piece, SliceStream):
                piece.stop()
        self.pieces.clear()
        self.pending_bytes = 0
        self._sent_of_head = 0

    def next_buffers(self) -> list[Buffer]:
        """Return the buffers to send next; they stay until they are dropped."""
        buffers: list[Buffer] = []
        size = 0
        self._offered.clear()
        for piece in self.pieces:
            if size >= MAX_SEND_BYTES or len(buffers) >= MAX_BUFFERS:
                break
            if not isinstance(piece, SliceStream):
                if len(piece) > MAX_SEND_BYTES - size:
                    buffers.append(memoryview(piece)[: MAX_SEND_BYTES - size])
                    break
                buffers.append(piece)
                size += len(piece)
                continue
            parts = piece.buffers(MAX_SEND_BYTES - size)
            offered = sum(map(len, parts))
            self._offered.append(offered)
            buffers += parts
            size += offered
            if offered < piece.bytes_left:
                break
        return buffers

    def drop(self, sent: int) -> None:
        """Remove the first `sent` bytes of what `next_buffers` returned."""
        while sent:
            piece = self.pieces[0]
            if isinstance(piece, SliceStream):
                size = min(sent, self._offered.popleft())
                piece.drop(size)
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
