"""The snapshot: resident blocks as files in `state_dir`, one file a block.

A block never changes and its boundaries depend on the format alone. So a file is right for
ever or not at all: nothing has to be saved twice, no file depends on another, and a damaged
one costs no more than its own block.

    json-000000004711.block      header, index entries, bytes

A file is written under another name, flushed and renamed, so it is whole or not there. It says
how it is to be read (version, byte order), what it holds, and a checksum; and whatever it says,
its last element must be what arithmetic says. This module reads and writes files; which and
when is for `fibserver.storage.persistence`.
"""

import contextlib
import errno
import os
import struct
import sys
from collections import Counter
from pathlib import Path
from zlib import crc32

from fibcommon.formats import FORMATS, Format
from fibserver.compute.rendering import render
from fibserver.memory.blocks import Block
from fibserver.memory.layout import INDEX_ENTRY_BYTES

__all__ = ["Snapshot", "SnapshotError"]

MAGIC = b"fibblock"
VERSION = 1
"""To be raised when the boundaries of blocks change, or the encoding of a format."""

# Magic, byte order, version, format, first element, element after the last, size, checksum.
_HEADER = struct.Struct("=8sHH16sQQQI")
_BYTE_ORDER = 0x0102
_SUFFIX = ".block"
_TEMPORARY_SUFFIX = ".new"

_NO_FOLDER_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Errors of file systems and permissions that do not let a folder be flushed."""


class SnapshotError(Exception):
    """A file that does not hold what it should; the message says why, without the name."""


class Snapshot:
    """The files of one folder.

    Attributes:
        directory: the folder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, format: Format, start: int) -> Path:
        """Return the file of the block that begins with element `start`."""
        return self.directory / f"{format.name}-{start:012d}{_SUFFIX}"

    def scan(self) -> tuple[dict[Format, dict[int, int]], Counter[str]]:
        """Look at all files, at their headers and sizes only, and remove unfinished ones.

        Returns:
            For each format the blocks that there are, from their first elements to the elements
            after their last; and why others are of no use, with how many there are.

        Raises:
            OSError: the folder can be neither made nor read.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: dict[Format, dict[int, int]] = {format: {} for format in FORMATS.values()}
        useless: Counter[str] = Counter()
        for path in sorted(self.directory.iterdir()):
            if path.name.endswith(_TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError):
                    path.unlink()
            elif path.name.endswith(_SUFFIX):
                try:
                    format, start, stop = self._look_at(path)
                    found[format][start] = stop
                except (SnapshotError, OSError) as error:
                    useless[_reason(error)] += 1
        return found, useless

    def _look_at(self, path: Path) -> tuple[Format, int, int]:
        with path.open("rb") as file:
            format, start, stop, size, _ = _parse_header(file.read(_HEADER.size))
            expected = _HEADER.size + (stop - start) * INDEX_ENTRY_BYTES + size
            actual = os.fstat(file.fileno()).st_size
        if path != self.path(format, start):
            raise SnapshotError("the name does not fit the content")
        if actual != expected:
            raise SnapshotError("truncated or too long")
        return format, start, stop

    def load(self, block: Block, ends: memoryview, data: memoryview) -> None:
        """Read a block, and check it.

        Args:
            block: which.
            ends: gets its index entries; after an error it may hold anything.
            data: gets its bytes, likewise.

        Raises:
            SnapshotError: the file is damaged, or of another kind.
            OSError: it cannot be read.
        """
        with self.path(block.format, block.start).open("rb", buffering=0) as file:
            format, start, stop, size, checksum = _parse_header(file.read(_HEADER.size))
            if (format, start, stop, size) != (block.format, block.start, block.stop, block.size):
                raise SnapshotError(f"holds {format.name} elements {start} to {stop - 1}")
            expected = len(ends) + size
            if os.readv(file.fileno(), [ends, data]) != expected or file.read(1):
                raise SnapshotError("truncated or too long")
        if _checksum(ends, data) != checksum:
            raise SnapshotError("the checksum is wrong")
        _check_last(block, ends, data)

    def save(self, block: Block, ends: memoryview, data: memoryview) -> None:
        """Write the file of a block, so that it is whole or not there at all.

        Args:
            block: which.
            ends: its index entries.
            data: its bytes.

        Raises:
            OSError: it cannot be written; what there was is still there.
        """
        path = self.path(block.format, block.start)
        header = _HEADER.pack(
            MAGIC,
            _BYTE_ORDER,
            VERSION,
            block.format.name.encode(),
            block.start,
            block.stop,
            block.size,
            _checksum(ends, data),
        )
        temporary = path.with_suffix(f".{os.getpid()}{_TEMPORARY_SUFFIX}")
        try:
            with temporary.open("wb") as file:
                file.writelines([header, ends, data])
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._flush_directory()

    def discard(self, block: Block) -> None:
        """Remove the file of a block, if there is one.

        Raises:
            OSError: it cannot be removed.
        """
        self.path(block.format, block.start).unlink(missing_ok=True)

    def _flush_directory(self) -> None:
        """Make renames last, where the file system can: folders are flushed on their own.

        The file is complete either way, and its checksum tells if it was lost.

        Raises:
            OSError: the disk failed.
        """
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_FOLDER_FLUSH:
                raise


def _parse_header(header: bytes) -> tuple[Format, int, int, int, int]:
    if len(header) < _HEADER.size:
        raise SnapshotError("truncated or too long")
    magic, order, version, name, start, stop, size, checksum = _HEADER.unpack(header)
    if magic != MAGIC:
        raise SnapshotError("no file of a fibserver")
    if order != _BYTE_ORDER:
        raise SnapshotError(f"of another byte order than this machine's, {sys.byteorder}-endian")
    if version != VERSION:
        raise SnapshotError(f"of version {version}, this server reads version {VERSION}")
    format = FORMATS.get(name.rstrip(b"\0").decode("ascii", "replace"))
    if format is None or not start < stop:
        raise SnapshotError("the header is damaged")
    return format, start, stop, size, checksum


def _checksum(ends: memoryview, data: memoryview) -> int:
    # Against damage, not against malice; four times as fast as any digest of hashlib.
    return crc32(data, crc32(ends))


def _check_last(block: Block, ends: memoryview, data: memoryview) -> None:
    """Raise unless a block ends as arithmetic says: no checksum can vouch for that."""
    last: list[bytes] = []
    end = render(block.format, block.stop - 1, block.stop, lambda chunk, _: last.append(chunk))[0]
    expected = b"".join(last)
    if data[-len(expected) :] != expected or ends.cast("Q")[-1] != end:
        raise SnapshotError(f"element {block.stop - 1} is wrong")


def _reason(error: SnapshotError | OSError) -> str:
    if isinstance(error, OSError):
        return f"unreadable ({error.strerror})"
    return str(error)
