"""Limit on the memory of all arrays and kept blocks together.

When one of them needs more, the part of the others that was used longest ago is evicted.
"""

from typing import Protocol

__all__ = ["MemoryLimit", "MemoryUser"]


class MemoryUser(Protocol):
    """Owner of memory that can be evicted in parts."""

    @property
    def used_bytes(self) -> int:
        """Size of its memory, in bytes."""

    @property
    def oldest_use(self) -> float | None:
        """When the part that `evict_oldest` evicts was last used; None if none can be evicted."""

    def evict_oldest(self) -> None:
        """Evict the part that was used longest ago."""


class MemoryLimit:
    """The memory limit and those who share it.

    Attributes:
        limit_bytes: Maximum size of their memory, in bytes.
        users: The owners of memory.
        evictions: Number of parts evicted that may be missed; the users count them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.users: list[MemoryUser] = []
        self.evictions = 0

    @property
    def used_bytes(self) -> int:
        """Size of the memory of all users, in bytes."""
        return sum(user.used_bytes for user in self.users)

    def make_room(self, size_bytes: int, exempt: MemoryUser | None = None) -> bool:
        """Evict until `size_bytes` more fit the limit.

        Args:
            size_bytes: Size of the memory that is needed.
            exempt: A user whose memory is not evicted.

        Returns:
            Whether they fit.
        """
        if size_bytes > self.limit_bytes:
            return False
        while self.used_bytes + size_bytes > self.limit_bytes:
            evictable = [
                (use, number)
                for number, user in enumerate(self.users)
                if user is not exempt and (use := user.oldest_use) is not None
            ]
            if not evictable:
                return False
            self.users[min(evictable)[1]].evict_oldest()
        return True
