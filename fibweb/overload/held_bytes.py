"""Bound on the memory that the responses of all connections hold.

A connection holds bytes that its client has not read: a fetched piece that is not in the cache of
the client library, or a small response. If the total exceeds the limit, the connection that has
held its bytes for longest, the slowest reader, must release them.
"""

from typing import Protocol

__all__ = ["HeldBytes", "Holder"]


class Holder(Protocol):
    """A connection that holds bytes."""

    def release_held(self) -> None:
        """Release the held bytes."""


class HeldBytes:
    """Held bytes by connection.

    Attributes:
        limit: Maximum of the total.
        size: Total in bytes.
        released: Number of times that a connection had to release its bytes.
    """

    def __init__(self, limit: int) -> None:
        """Start without holders.

        Args:
            limit: Maximum of the total in bytes, >= 0.
        """
        self.limit = limit
        self.size = 0
        self.released = 0
        self._holders: dict[Holder, int] = {}  # the longest holder is first

    @property
    def is_tight(self) -> bool:
        """Whether more than half of the limit is used."""
        return 2 * self.size > self.limit

    def set(self, holder: Holder, size: int) -> None:
        """Set the held bytes of a connection; if over the limit, make the oldest holders release.

        Args:
            holder: The connection.
            size: Bytes, >= 0. 0 removes the holder; later it counts as the newest.
        """
        before = self._holders.get(holder, 0)
        if size:
            self._holders[holder] = size
        elif before:
            del self._holders[holder]
        self.size += size - before
        while self.size > self.limit:
            slowest = next(iter(self._holders))
            self.size -= self._holders.pop(slowest)
            self.released += 1
            slowest.release_held()
