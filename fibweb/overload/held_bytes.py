"""Bound for the memory that responses in progress hold, all connections together.

A connection holds bytes that its client has not read: a fetched piece that is not in the client
library's cache, or a small response. When all together exceed the limit, the connection that has
held its bytes for longest, which is the slowest reader, releases them.
"""

from typing import Generic, Protocol, TypeVar

__all__ = ["HeldBytes", "Holder"]


class Holder(Protocol):
    """A connection that holds bytes."""

    def give_up_held(self) -> None:
        """Release the held bytes."""


AnyHolder = TypeVar("AnyHolder", bound=Holder)


class HeldBytes(Generic[AnyHolder]):
    """Held bytes by holder.

    Attributes:
        limit: how many bytes all may hold together.
        size: how many they hold.
        given_up: how often a holder had to release its bytes.
    """

    def __init__(self, limit: int) -> None:
        """Start without holders.

        Args:
            limit: >= 0.
        """
        self.limit = limit
        self.size = 0
        self.given_up = 0
        self._holders: dict[AnyHolder, int] = {}  # the longest holder is first

    @property
    def is_tight(self) -> bool:
        """Whether more than half of the limit is used."""
        return 2 * self.size > self.limit

    def set(self, holder: AnyHolder, size: int) -> None:
        """Set how much a holder holds; the longest holders release theirs beyond the limit.

        Args:
            holder: a connection.
            size: bytes, >= 0; 0 removes it, so that it is the newest when it holds again.
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
            self.given_up += 1
            slowest.give_up_held()
