"""The arena: the one shared-memory segment, as the acceptor and the workers see it.

Facts about /dev/shm, and what they mean here. A segment outlives its processes while it has
a name, so the name is removed as soon as the segment exists: forked workers inherit the
mapping, and nothing is ever left behind, whatever is killed. tmpfs takes a page when it is
first written; writing through the mapping when no page is to be had is a SIGBUS, so pages are
reserved with `posix_fallocate` first, where a full /dev/shm is an error like any other.
Workers write with `pwrite`, which was measured faster than the mapping for pages new to the
process; the acceptor reads through the mapping. Both are the same pages. Pages are given back
by MADV_REMOVE, which makes a hole in the segment for all processes at once.

Publication: bytes and index entries of a block are written before its worker says so over a
socket, and the acceptor looks at them only after it has read that. It alone writes headers,
and it alone gives pages back.
"""

import logging
import mmap
import os
from multiprocessing.shared_memory import SharedMemory

from fibcommon.formats import Format
from fibserver.compute.rendering import render
from fibserver.memory.blocks import Block
from fibserver.memory.layout import HEADER, INDEX_ENTRY_BYTES, PAGE_BYTES, ArenaLayout

__all__ = ["Arena"]

log = logging.getLogger(__name__)


class Arena:
    """A shared-memory segment without a name, laid out as arrays and slots.

    Attributes:
        layout: where each array and slot lies.
        fd: the segment's descriptor, which workers keep when they close all others.
    """

    def __init__(self, layout: ArenaLayout) -> None:
        """Create the segment.

        Raises:
            OSError: there is no room in /dev/shm, not even for the headers.
        """
        self.layout = layout
        self._memory = SharedMemory(create=True, size=layout.size_bytes)
        try:
            # SharedMemory keeps its descriptor, and its mapping, to itself.
            self.fd = os.open(f"/dev/shm/{self._memory.name}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            self._memory.unlink()
        self._mapping = mmap.mmap(self.fd, layout.size_bytes)  # for MADV_REMOVE alone
        assert self._memory.buf is not None, "it is None only after close()"
        self._root = memoryview(self._memory.buf)
        for array_layout in layout.arrays.values():
            os.posix_fallocate(self.fd, array_layout.header_position, HEADER.size)
            self.publish(array_layout.format, 0)

    @property
    def resident_bytes(self) -> int:
        """How much memory the segment takes."""
        return os.fstat(self.fd).st_blocks * 512

    def bytes_between(self, start: int, end: int) -> memoryview:
        """Return the bytes between two positions."""
        return self._root[start:end]

    def index(self, format: Format) -> memoryview:
        """Return the index of a format's array: entry n is the offset of element n."""
        layout = self.layout.arrays[format]
        size = (layout.capacity_elements + 1) * INDEX_ENTRY_BYTES
        return self._root[layout.index_position : layout.index_position + size].cast("Q")

    def publish(self, format: Format, count: int) -> None:
        """Write the published count into the header of a format's array."""
        position = self.layout.arrays[format].header_position
        HEADER.pack_into(self._root, position, format.name.encode(), count)

    def fill(self, block: Block) -> None:
        """Compute a block and write its bytes and index entries.

        Raises:
            OSError: ENOSPC, if the machine has no memory for it.
            RenderingError: the result contradicts its prediction.
        """
        self.reserve(block)

        def write(chunk: bytes, offset: int) -> None:
            self._write(chunk, block.position + offset)

        ends = render(block.format, block.start, block.stop, write)
        if block.is_resident:
            self._write(ends.tobytes(), block.index_position)

    def block_views(self, block: Block) -> tuple[memoryview, memoryview]:
        """Return the index entries and the bytes of a resident block.

        They may be read when the block is filled, and written when it is reserved.
        """
        index_end = block.index_position + _index_size(block)
        return (
            self._root[block.index_position : index_end],
            self._root[block.position : block.position + block.size],
        )

    def reserve(self, block: Block) -> None:
        """Have the pages of a block, so that writing to it cannot fail.

        Raises:
            OSError: ENOSPC, if the machine has no memory for it.
        """
        os.posix_fallocate(self.fd, block.position, block.size)
        if block.is_resident:
            os.posix_fallocate(self.fd, block.index_position, _index_size(block))

    def _write(self, data: bytes, position: int) -> None:
        written = os.pwrite(self.fd, data, position)
        if written != len(data):
            raise OSError(f"wrote {written} bytes of {len(data)} at {position}")

    def drop_block(self, block: Block) -> None:
        """Give back the memory of the last block of an array."""
        self._drop(block.position, block.size)
        self._drop(block.index_position, _index_size(block))

    def drop_slot(self, number: int) -> None:
        """Give back the memory of a slot."""
        self._drop(self.layout.slot_positions[number], self.layout.slot_bytes)

    def _drop(self, position: int, size: int) -> None:
        # The first page may hold the end of the block before; the last holds nothing else.
        first = -(-position // PAGE_BYTES) * PAGE_BYTES
        end = -(-(position + size) // PAGE_BYTES) * PAGE_BYTES
        if first < end:
            try:
                self._mapping.madvise(mmap.MADV_REMOVE, first, end - first)
            except OSError as error:  # pages locked in memory, or /dev/shm is no tmpfs
                log.warning("cannot give memory back: %s", error)

    def close(self) -> None:
        """Give the memory back; every view taken from here must be released before."""
        self._root.release()
        self._mapping.close()
        self._memory.close()
        os.close(self.fd)


def _index_size(block: Block) -> int:
    return (block.stop - block.start) * INDEX_ENTRY_BYTES
