"""Cache with bounds on its number of entries and on their size; the oldest entry is evicted.

A `RepeatFilter` in front of it keeps out keys that do not come twice, so that a client whose
requests are all different evicts nothing.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["BoundedCache", "RepeatFilter"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Dictionary that drops its oldest entries at its bounds.

    A look-up takes no longer than that of a dictionary, because it leaves no trace: an entry that
    is in use is dropped like any other, and its next use adds it again.

    Attributes:
        get: The method `get` of the dictionary.
    """

    def __init__(self, max_entries: int, max_size: int = 0) -> None:
        """Create an empty cache.

        Args:
            max_entries: Maximum number of entries, >= 1.
            max_size: Maximum sum of the sizes of the entries; a larger entry is kept alone.
        """
        self._max_entries = max_entries
        self._max_size = max_size
        self._entries: dict[Key, Value] = {}
        self._sizes: deque[tuple[Key, int]] = deque()  # from the oldest entry to the newest
        self._size = 0
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def put(self, key: Key, value: Value, size: int = 0) -> None:
        """Add an entry, or replace its value.

        Args:
            key: Key of the entry.
            value: Value of the entry.
            size: Size of the entry; ignored for one that is present.
        """
        if key not in self._entries:
            while self._sizes and (
                len(self._entries) >= self._max_entries or self._size + size > self._max_size
            ):
                oldest, freed = self._sizes.popleft()
                del self._entries[oldest]
                self._size -= freed
            self._sizes.append((key, size))
            self._size += size
        self._entries[key] = value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._sizes.clear()
        self._size = 0


class RepeatFilter:
    """Recognizes keys that come again, in constant memory.

    A key is recognized until another one with the same slot comes. Two keys with equal hashes are
    taken for the same one.
    """

    def __init__(self, slots: int) -> None:
        """Start without any key.

        Args:
            slots: Number of hashes to remember, >= 1: some times the number of keys in use.
        """
        self._hashes: list[int | None] = [None] * slots

    def is_repeated(self, key: Hashable) -> bool:
        """Return whether a key has come before; remember it if not."""
        number = hash(key)
        slot = number % len(self._hashes)
        if self._hashes[slot] == number:
            return True
        self._hashes[slot] = number
        return False
