"""Replay: requests seen before lead straight to their replies.

The reply to a FIB.* request never changes and depends on the request's bytes alone. So the
bytes of one read from a socket, when they are whole requests of that kind, may be answered
from a table, without parsing. Every entry has once gone through parser, limits and commands.

Small replies are kept as bytes, joined to one piece; of a large one only the slice is kept, since
its bytes stay in shared memory, and may leave it.
"""

from dataclasses import dataclass

from fibserver.core.statistics import CommandStatistics
from fibserver.protocol.reply_encoding import Reply, Slice

__all__ = ["CachedReply", "ReplyCache"]

MAX_ENTRIES = 4096
MAX_BYTES = 32 * 1024 * 1024
"""What the table may hold, in requests and replies. When it is full it is emptied: what is
still asked for comes back at once, and whatever is new is learnt as well."""

SLICE_BYTES = 300
POINTER_BYTES = 8
"""What a slice and an entry of a list take, about."""


@dataclass(slots=True, frozen=True)
class CachedReply:
    """The replies to some requests of one command.

    Attributes:
        ready: all of their bytes, if no slice is among them; empty otherwise.
        replies: in order.
        command: what each request counts as.
        calls: how many requests they are.
    """

    ready: bytes
    replies: list[Reply]
    command: CommandStatistics
    calls: int


class ReplyCache:
    """A bounded table from received bytes to replies."""

    def __init__(self) -> None:
        self._entries: dict[bytes, CachedReply] = {}
        self._held_bytes = 0
        self.get = self._entries.get

    def learn(
        self, received: bytes, replies: list[Reply], command: CommandStatistics, calls: int = 1
    ) -> None:
        """Remember what requests lead to.

        Args:
            received: the requests.
            replies: theirs, at least one; the bytes among them must be small.
            command: what each request counts as.
            calls: how many requests they are.
        """
        if received in self._entries:
            return  # the same bytes lead to the same replies
        pieces = [reply for reply in replies if isinstance(reply, bytes)]
        ready = b"".join(pieces) if len(pieces) == len(replies) else b""
        if ready:
            replies = [ready]
        slices = len([reply for reply in replies if isinstance(reply, Slice)])
        held = len(received) + sum(map(len, pieces)) + POINTER_BYTES * len(replies)
        held += SLICE_BYTES * (slices + 1)  # the entry itself takes about as much
        if len(self._entries) >= MAX_ENTRIES or self._held_bytes + held > MAX_BYTES:
            self.clear()
        self._entries[received] = CachedReply(ready, list(replies), command, calls)
        self._held_bytes += held

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._held_bytes = 0
