"""The arena: the one shared-memory segment, as the acceptor and the workers see it.

Facts about /dev/shm, and what they mean here. A segment outlives its processes while it has
a name, so the name is removed as soon as the segment exists: forked workers inherit the
mapping, and nothing is ever left behind, whatever is killed. tmpfs takes a page when it is
first written; writing through the mapping when no page is to be had is a SIGBUS, so pages are
reserved with `posix_fallocate` first, where a full /dev/shm is an error like any other.
Workers write with `pwrite`, which was measured faster than the mapping for pages new to the
process; the acceptor reads through the mapping. Both are the same pages.

Publication: bytes and index entries of a block are written before its worker says so over a
socket, and the acceptor looks at them only after it has read that. It alone writes headers.
"""

import os
from multiprocessing.shared_memory import SharedMemory

from fibclient.formats import Format
from fibserver.growth import Block
from fibserver.layout import HEADER, INDEX_ENTRY_BYTES, ArenaLayout
from fibserver.rendering import render

__all__ = ["Arena"]


class Arena:
    """A shared-memory segment without a name, laid out as arrays.

    Attributes:
        layout: where each array lies.
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
            # SharedMemory keeps its descriptor to itself.
            self.fd = os.open(f"/dev/shm/{self._memory.name}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            self._memory.unlink()
        assert self._memory.buf is not None, "it is None only after close()"
        self._root = memoryview(self._memory.buf)
        for array_layout in layout.arrays.values():
            os.posix_fallocate(self.fd, array_layout.header_position, HEADER.size)
            self.publish(array_layout.format, 0)

    def data(self, format: Format) -> memoryview:
        """Return the bytes of a format's array, those not yet published included."""
        layout = self.layout.arrays[format]
        return self._root[layout.data_position : layout.data_position + layout.capacity_bytes]

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
        index_size = (block.stop - block.start) * INDEX_ENTRY_BYTES
        os.posix_fallocate(self.fd, block.position, block.size)
        os.posix_fallocate(self.fd, block.index_position, index_size)
        position = block.position

        def write(chunk: bytes) -> None:
            nonlocal position
            self._write(chunk, position)
            position += len(chunk)

        ends = render(block.format, block.start, block.stop, write)
        self._write(ends.tobytes(), block.index_position)

    def _write(self, data: bytes, position: int) -> None:
        written = os.pwrite(self.fd, data, position)
        if written != len(data):
            raise OSError(f"wrote {written} bytes of {len(data)} at {position}")

    def close(self) -> None:
        """Give the memory back; every view taken from here must be released before."""
        self._root.release()
        self._memory.close()
        os.close(self.fd)
