"""Reply cache: maps the bytes of received requests to their replies.

The reply to an immutable command, such as FIB.FIRST, never changes and depends on the request's
bytes alone. So if the bytes of one read from a socket are complete requests of that kind, they are
answered from the cache without parsing. Every entry was once parsed, checked against the limits
and executed.

Small replies are stored as bytes, joined into one buffer. For a large one only the slice is
stored: its elements are in shared memory, from which they may be evicted.
"""

from dataclasses import dataclass

from fibcommon.bounded_cache import BoundedCache, RepeatFilter
from fibserver.core.statistics import CommandStatistics
from fibserver.protocol.reply_encoding import Reply, Slice

__all__ = ["CachedReply", "ReplyCache"]

MAX_ENTRIES = 4096
MAX_BYTES = 32 * 1024 * 1024
"""Maximum total size of the cached requests and replies."""

SLICE_BYTES = 300
POINTER_BYTES = 8
"""Approximate memory of a slice and of a list entry."""


@dataclass(slots=True, frozen=True)
class CachedReply:
    """The replies to one or more requests of the same command.

    Attributes:
        ready: All replies as bytes; empty if any of them is a slice.
        replies: The replies in order.
        command: Statistics of the command.
        calls: Number of requests.
    """

    ready: bytes
    replies: list[Reply]
    command: CommandStatistics
    calls: int


class ReplyCache:
    """Bounded cache from received bytes to replies.

    Attributes:
        get: Returns the replies to the requests in received bytes, or None.
        is_repeated: Returns whether the same bytes were received recently; remembers them. Only
            replies to repeated requests are stored: for many requests, storing the reply takes
            longer than executing the request.
    """

    def __init__(self) -> None:
        self.is_repeated = RepeatFilter(4 * MAX_ENTRIES).is_repeated
        self._cache: BoundedCache[bytes, CachedReply] = BoundedCache(MAX_ENTRIES, MAX_BYTES)
        self.get = self._cache.get

    def put(
        self, received: bytes, replies: list[Reply], command: CommandStatistics, calls: int = 1
    ) -> None:
        """Store the replies to requests, unless they are stored already.

        Args:
            received: The bytes of the requests.
            replies: Their replies, at least one; the bytes among them must be small.
            command: Statistics of the command.
            calls: Number of requests.
        """
        if received in self._cache:
            return
        pieces = [reply for reply in replies if isinstance(reply, bytes)]
        ready = b"".join(pieces) if len(pieces) == len(replies) else b""
        if ready:
            replies = [ready]
        slices = len([reply for reply in replies if isinstance(reply, Slice)])
        held = len(received) + sum(map(len, pieces)) + POINTER_BYTES * len(replies)
        held += SLICE_BYTES * (slices + 1)  # the entry itself takes about as much
        self._cache.put(received, CachedReply(ready, list(replies), command, calls), held)

    def clear(self) -> None:
        """Remove all entries."""
        self._cache.clear()
