"""Blocks that are kept in memory for later requests, in the order of their eviction.

There are two queues, as in 2Q (Johnson and Shasha, VLDB 1994): blocks that were used once, and
blocks that were used again. Those used once have a share of the memory and evict each other, so a
reader that scans gigabytes does not evict what others use repeatedly.

This module is pure bookkeeping, without memory, processes or clocks.
"""

from fibserver.memory.far_block import FarBlock, Key

__all__ = ["KeptBlocks"]


class KeptBlocks:
    """Blocks by key; in each queue the one used longest ago comes first.

    Attributes:
        used_once_bytes: Size of the blocks that were used once.
        reused_bytes: Size of the others.
    """

    def __init__(self) -> None:
        self.used_once_bytes = self.reused_bytes = 0
        self._used_once: dict[Key, FarBlock] = {}
        self._reused: dict[Key, FarBlock] = {}

    def __len__(self) -> int:
        return len(self._used_once) + len(self._reused)

    def __contains__(self, key: Key) -> bool:
        return key in self._used_once or key in self._reused

    def get(self, key: Key) -> FarBlock | None:
        """Return a block, or None."""
        return self._used_once.get(key) or self._reused.get(key)

    def add(self, key: Key, block: FarBlock) -> None:
        """Add a block that was just used; its key must be absent."""
        if block.was_reused:
            self._reused[key] = block
            self.reused_bytes += block.allocated_bytes
        else:
            self._used_once[key] = block
            self.used_once_bytes += block.allocated_bytes

    def pop(self, key: Key) -> FarBlock | None:
        """Remove and return a block; return None if it is absent."""
        if (block := self._used_once.pop(key, None)) is not None:
            self.used_once_bytes -= block.allocated_bytes
        elif (block := self._reused.pop(key, None)) is not None:
            self.reused_bytes -= block.allocated_bytes
        return block

    @property
    def oldest_used_once(self) -> Key | None:
        """Key of the block to evict among those used once, or None."""
        return _first_unpinned(self._used_once)

    @property
    def oldest(self) -> Key | None:
        """Key of the block to evict, or None."""
        keys = [
            key
            for key in (self.oldest_used_once, _first_unpinned(self._reused))
            if key is not None
        ]
        return min(keys, key=self._last_use, default=None)

    def _last_use(self, key: Key) -> float:
        block = self.get(key)
        assert block is not None
        return block.last_use


def _first_unpinned(blocks: dict[Key, FarBlock]) -> Key | None:
    return next((key for key, block in blocks.items() if not block.pins), None)
