"""Layout of the arena: the position of every array and slot.

The arena is one shared-memory segment. It contains one *array* per format:

    header   format name, published count             one page
    index    u64 per element: where it ends           index[n] is the offset of element n
    bytes    the encoded elements, end to end

and after the arrays the positions of far blocks, each with room for the largest one. Every part is
page-aligned; an array has room for `memory_limit` bytes of elements. The segment is sparse: pages
that were never written take no memory.
"""

import struct
from dataclasses import dataclass

from fibcommon.formats import FORMATS, Format
from fibserver.memory.blocks import BLOCK_BYTES

__all__ = ["HEADER", "INDEX_ENTRY_BYTES", "PAGE_BYTES", "ArenaLayout", "ArrayLayout", "pages"]

PAGE_BYTES = 4096
INDEX_ENTRY_BYTES = 8

MAX_KEPT_BLOCKS = 1024
KEPT_SPACE_FACTOR = 8
"""The arena has address space for far blocks of eight times the memory limit, as most are smaller
than the largest, but not for more than `MAX_KEPT_BLOCKS` kept ones."""

HEADER = struct.Struct("<16sQ")
"""Header of an array: the format's name and the number of published elements."""


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Positions in the arena and capacities of one array."""

    format: Format
    header_position: int
    index_position: int
    data_position: int
    capacity_bytes: int
    capacity_elements: int


class ArenaLayout:
    """Positions of all arrays and far blocks in an arena.

    Attributes:
        arrays: Layout of each format's array, in the order of the format table.
        far_positions: Positions for far blocks.
        size_bytes: Size of the arena.
    """

    def __init__(self, memory_limit: int, max_index: int, slots: int) -> None:
        """Compute the layout.

        Args:
            memory_limit: Capacity of each array, in bytes of elements.
            max_index: The largest element that a block may hold.
            slots: Minimum number of far blocks; memory for kept ones adds more.
        """
        self.arrays: dict[Format, ArrayLayout] = {}
        end = 0
        for format in FORMATS.values():
            elements = format.stop_within(0, memory_limit)
            index_position = end + PAGE_BYTES
            # One entry more than there are elements: the first is the offset of element 0.
            data_position = index_position + pages((elements + 1) * INDEX_ENTRY_BYTES)
            self.arrays[format] = ArrayLayout(
                format, end, index_position, data_position, memory_limit, elements
            )
            end = data_position + pages(memory_limit)
        largest = max(format.size(max_index) for format in FORMATS.values())
        far_bytes = pages(max(BLOCK_BYTES, largest))
        kept = max(1, min(MAX_KEPT_BLOCKS, KEPT_SPACE_FACTOR * memory_limit // far_bytes))
        self.far_positions = range(end, end + (slots + kept) * far_bytes, far_bytes)
        self.size_bytes = self.far_positions.stop


def pages(size_bytes: int) -> int:
    """Return the size rounded up to whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
