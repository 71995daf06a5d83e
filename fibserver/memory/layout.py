"""Where everything lies in the arena: positions only, no memory.

The arena is one shared-memory segment. It holds, for each format, one *array*:

    header   format name, published count             one page
    index    u64 for each element: where it ends      index[n] is the offset of element n
    bytes    the encoded elements, end to end

and behind the arrays the *slots*, each with room for one short-lived block. Each part starts
on a page of its own; an array has room for `memory_limit` bytes of elements. The segment is
sparse: a page that was never written takes no memory.
"""

import struct
from dataclasses import dataclass

from fibcommon.formats import FORMATS, Format
from fibserver.memory.blocks import BLOCK_BYTES

__all__ = ["HEADER", "INDEX_ENTRY_BYTES", "PAGE_BYTES", "ArenaLayout", "ArrayLayout"]

PAGE_BYTES = 4096
INDEX_ENTRY_BYTES = 8

HEADER = struct.Struct("<16sQ")
"""The header of an array: the format's name, and the number of elements published."""


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """The place of one array: positions in the arena and capacities, all in bytes but one."""

    format: Format
    header_position: int
    index_position: int
    data_position: int
    capacity_bytes: int
    capacity_elements: int


class ArenaLayout:
    """The place of every array and slot in an arena.

    Attributes:
        arrays: the layout of each format's array, in the order of the format table.
        slot_positions: where each slot starts.
        slot_bytes: the size of a slot.
        size_bytes: the size of the whole arena.
    """

    def __init__(self, memory_limit: int, max_index: int, slots: int) -> None:
        """Lay out an arena.

        Args:
            memory_limit: how many bytes of elements each array has room for.
            max_index: the largest element that a block may hold: a slot has room for it.
            slots: how many there are.
        """
        self.arrays: dict[Format, ArrayLayout] = {}
        end = 0
        for format in FORMATS.values():
            elements = format.stop_within(0, memory_limit)
            index_position = end + PAGE_BYTES
            # One entry more than elements: the first says where element 0 starts.
            data_position = index_position + _pages((elements + 1) * INDEX_ENTRY_BYTES)
            self.arrays[format] = ArrayLayout(
                format, end, index_position, data_position, memory_limit, elements
            )
            end = data_position + _pages(memory_limit)
        largest = max(format.size(max_index) for format in FORMATS.values())
        self.slot_bytes = _pages(max(BLOCK_BYTES, largest))
        self.slot_positions = [end + number * self.slot_bytes for number in range(slots)]
        self.size_bytes = end + slots * self.slot_bytes


def _pages(size_bytes: int) -> int:
    """Round up to whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
