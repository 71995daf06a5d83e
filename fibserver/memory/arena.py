"""The shared-memory segment (arena) that the acceptor and the workers map.

A segment in /dev/shm outlives its processes while it has a name. So the name is removed as soon
as the segment exists: forked workers inherit the mapping, and no crash leaves a segment in
/dev/shm.

tmpfs allocates a page when it is first written. A write through the mapping raises SIGBUS if no
page is available, so pages are reserved with `posix_fallocate` first, which reports a full
/dev/shm as an ordinary error. Workers write with `pwrite`, which was measured to be faster than
the mapping for pages that are new to the process; the acceptor reads through the mapping. Pages
are freed with MADV_REMOVE, which punches a hole in the segment for all processes.

Publication: a worker writes the bytes and index entries of a block before it reports the block
over its socket, and the acceptor reads them only after that report. Only the acceptor writes
array headers and frees pages.
"""

import logging
import mmap
import os
import sys
from multiprocessing import shared_memory
from multiprocessing.shared_memory import SharedMemory

from fibcommon.formats import Format
from fibserver.compute.rendering import render
from fibserver.memory.blocks import Block
from fibserver.memory.layout import HEADER, INDEX_ENTRY_BYTES, PAGE_BYTES, ArenaLayout

__all__ = ["Arena"]

log = logging.getLogger(__name__)


class Arena:
    """An unnamed shared-memory segment that contains arrays and far blocks.

    Attributes:
        layout: The positions of arrays and far blocks.
        fd: The segment's descriptor, which a worker keeps open when it closes all others.
    """

    def __init__(self, layout: ArenaLayout) -> None:
        """Create and map the segment.

        Raises:
            OSError: /dev/shm has no room, not even for the array headers.
        """
        self.layout = layout
        self._memory = _untracked_segment(layout.size_bytes)
        path = f"/dev/shm/{self._memory.name}"
        try:
            # SharedMemory does not expose its descriptor.
            self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.unlink(path)
        self._mapping = mmap.mmap(self.fd, layout.size_bytes)  # used only for MADV_REMOVE
        assert self._memory.buf is not None, "buf is None only after close()"
        self._root = memoryview(self._memory.buf)
        for array_layout in layout.arrays.values():
            os.posix_fallocate(self.fd, array_layout.header_position, HEADER.size)
            self.publish(array_layout.format, 0)

    @property
    def resident_bytes(self) -> int:
        """Size of the allocated pages of the segment, in bytes."""
        return os.fstat(self.fd).st_blocks * 512

    def bytes_between(self, start: int, end: int) -> memoryview:
        """Return a view of the bytes from position `start` up to `end`."""
        return self._root[start:end]

    def index(self, format: Format) -> memoryview:
        """Return the index of a format's array: entry n is the offset of element n."""
        layout = self.layout.arrays[format]
        size = (layout.capacity_elements + 1) * INDEX_ENTRY_BYTES
        return self._root[layout.index_position : layout.index_position + size].cast("Q")

    def publish(self, format: Format, count: int) -> None:
        """Write the number of published elements to the header of a format's array."""
        position = self.layout.arrays[format].header_position
        HEADER.pack_into(self._root, position, format.name.encode(), count)

    def fill(self, block: Block) -> None:
        """Compute a block and write its bytes and index entries.

        Raises:
            OSError: ENOSPC, if no memory is left for the block.
            RenderingError: The computed bytes differ from the predicted size or the check value.
        """
        self.reserve(block)

        def write(chunk: bytes, offset: int) -> None:
            self._write(chunk, block.position + offset)

        ends = render(block.format, block.start, block.stop, write)
        if block.is_resident:
            self._write(ends.tobytes(), block.index_position)

    def view(self, block: Block) -> memoryview:
        """Return a writable view of the bytes of a block.

        The block must be reserved before the view is written, and filled before it is read.
        """
        return self._root[block.position : block.position + block.size]

    def reserve(self, block: Block) -> None:
        """Allocate the pages of a block, so that writing to it cannot fail.

        Raises:
            OSError: ENOSPC, if no memory is left for the block.
        """
        os.posix_fallocate(self.fd, block.position, block.size)
        if block.is_resident:
            os.posix_fallocate(self.fd, block.index_position, _index_size(block))

    def _write(self, data: bytes, position: int) -> None:
        written = os.pwrite(self.fd, data, position)
        if written != len(data):
            raise OSError(f"wrote {written} bytes of {len(data)} at {position}")

    def free_block(self, block: Block) -> None:
        """Free the pages of the last block of an array."""
        self.free(block.position, block.size)
        self.free(block.index_position, _index_size(block))

    def free(self, position: int, size: int) -> None:
        """Free the pages from `position` on, except for one that begins before it.

        That page may hold the end of another block; nothing else uses the last one.
        """
        first = -(-position // PAGE_BYTES) * PAGE_BYTES
        end = -(-(position + size) // PAGE_BYTES) * PAGE_BYTES
        if first < end:
            try:
                self._mapping.madvise(mmap.MADV_REMOVE, first, end - first)
            except OSError as error:  # mlocked pages, or /dev/shm is not a tmpfs
                log.warning("cannot free pages in /dev/shm: %s", error)

    def close(self) -> None:
        """Unmap and free the segment; all views of it must be released first."""
        self._root.release()
        self._mapping.close()
        self._memory.close()
        os.close(self.fd)


def _untracked_segment(size_bytes: int) -> SharedMemory:
    """Create a segment that multiprocessing does not track.

    Its resource tracker is one more Python process, which removes the names of segments after a
    crash. This segment loses its name at once, and the tracker would take 35 ms of CPU time and
    6 MiB. Before Python 3.13, which has an option for this, the tracker must be out of reach.
    """
    if sys.version_info >= (3, 13):
        return SharedMemory(create=True, size=size_bytes, track=False)
    tracker = vars(shared_memory)["resource_tracker"]
    vars(shared_memory)["resource_tracker"] = _NoTracker
    try:
        return SharedMemory(create=True, size=size_bytes)
    finally:
        vars(shared_memory)["resource_tracker"] = tracker


class _NoTracker:
    """Substitute for the module `multiprocessing.resource_tracker`."""

    @staticmethod
    def register(name: str, kind: str) -> None:
        """Do nothing."""

    unregister = register


def _index_size(block: Block) -> int:
    return (block.stop - block.start) * INDEX_ENTRY_BYTES
