"""Replay: requests seen before lead straight to their ready replies.

The reply to a FIB.* request never changes and depends on the request's bytes alone. So the
bytes of one read from a socket, when they are whole requests of that kind, may be answered
from a table, without parsing. Every entry has once gone through parser, limits and commands.

Replies are kept as buffers to send: slices of shared memory, or, where they are small, one
bytes object, since joining once beats gathering each time.
"""

from typing import NamedTuple

from fibserver.statistics import CommandStatistics

__all__ = ["Replay", "ReplayTable"]

JOIN_BELOW_BYTES = 64 * 1024
"""Replies shorter than this are joined; longer ones are cheaper to gather than to copy."""

MAX_ENTRIES = 4096
MAX_BYTES = 32 * 1024 * 1024
"""What the table may hold, in requests, joined replies and views. When it is full it is emptied:
what is still asked for comes back at once, and whatever is new is learnt as well."""


VIEW_BYTES = 200
POINTER_BYTES = 8
"""What a view of shared memory and an entry of a list take, about."""


class Replay(NamedTuple):
    """The ready replies to some requests.

    Attributes:
        buffers: their bytes, in order.
        commands: what each request counts as.
    """

    buffers: list[bytes | memoryview]
    commands: list[CommandStatistics]


class ReplayTable:
    """A bounded table from received bytes to ready replies."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Replay] = {}
        self._held_bytes = 0
        self.get = self._entries.get

    def learn(
        self,
        received: bytes,
        buffers: list[bytes | memoryview],
        commands: list[CommandStatistics],
    ) -> Replay:
        """Remember what requests lead to; return it, joined if it is small."""
        size = sum(map(len, buffers))
        held = len(received) + POINTER_BYTES * len(commands)
        if size < JOIN_BELOW_BYTES:
            buffers = [b"".join(buffers)]
            held += size
        else:
            held += VIEW_BYTES * len(buffers)
        if len(self._entries) >= MAX_ENTRIES or self._held_bytes + held > MAX_BYTES:
            self.clear()
        entry = self._entries[received] = Replay(buffers, commands)
        self._held_bytes += held
        return entry

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._held_bytes = 0
