"""The bytes that answers under way hold, all connections together, and who gives way.

A connection holds bytes while its client does not take them: what was fetched for it and is
not in the client library's cache, and small answers. When there would be more than the limit, the
one that has held its bytes for longest, the slowest reader, gives them up.
"""

from typing import Generic, Protocol, TypeVar

__all__ = ["HeldBytes", "Holder"]


class Holder(Protocol):
    """A connection that holds bytes."""

    def give_up_held(self) -> None:
        """Let go of what is held, since others need the memory."""


AnyHolder = TypeVar("AnyHolder", bound=Holder)


class HeldBytes(Generic[AnyHolder]):
    """Who holds how many bytes.

    Attributes:
        limit: how many all may hold together.
        size: how many they hold.
        given_up: how often somebody had to give way.
    """

    def __init__(self, limit: int) -> None:
        """Start with nothing.

        Args:
            limit: >= 0.
        """
        self.limit = limit
        self.size = 0
        self.given_up = 0
        self._holders: dict[AnyHolder, int] = {}  # who has held for longest comes first

    @property
    def is_tight(self) -> bool:
        """Whether half of it is used, so that it is time to hold less each."""
        return 2 * self.size > self.limit

    def set(self, holder: AnyHolder, size: int) -> None:
        """Note how much somebody holds from now on; others give way if that is too much.

        Args:
            holder: who.
            size: bytes, >= 0; 0 ends its turn, and the next begins at the end of the line.
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
