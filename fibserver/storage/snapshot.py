"""Snapshot of resident blocks as files in `state_dir`, one file per block.

A block never changes, and its boundaries depend on the format alone. So a file stays valid
forever: no block is saved twice, no file depends on another, and a damaged file costs only its
own block.

    json-000000004711.block      header, index entries, bytes

A file is written under a temporary name, flushed and renamed, so it is never incomplete. Its
header contains the byte order, version, format, elements, size and a checksum. In addition, the
last element of a loaded block is compared with a computed one. This module reads and writes
files; `fibserver.storage.persistence` decides which and when.
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
"""Version of the files. Increment it when block boundaries or the encoding of a format change."""

# Magic, byte order, version, format, first element, element after the last, size, checksum.
_HEADER = struct.Struct("=8sHH16sQQQI")
_BYTE_ORDER = 0x0102
_SUFFIX = ".block"
_TEMPORARY_SUFFIX = ".new"

_NO_DIRECTORY_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Errors that show that the file system or permissions do not allow flushing a directory."""


class SnapshotError(Exception):
    """A block file that is damaged or unsuitable; the message omits the path."""


class Snapshot:
    """The block files in a directory.

    Attributes:
        directory: The directory, `state_dir`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, format: Format, start: int) -> Path:
        """Return the path of the file of the block that begins at element `start`."""
        return self.directory / f"{format.name}-{start:012d}{_SUFFIX}"

    def scan(self) -> tuple[dict[Format, dict[int, int]], Counter[str]]:
        """Check the headers and sizes of all files, and remove temporary files.

        Creates the directory if it is missing.

        Returns:
            For each format, the valid blocks as a mapping of start to stop; and the number of
            unusable files by reason.

        Raises:
            OSError: The directory cannot be created or read.
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
                    format, start, stop = self._inspect(path)
                    found[format][start] = stop
                except (SnapshotError, OSError) as error:
                    useless[_reason(error)] += 1
        return found, useless

    def _inspect(self, path: Path) -> tuple[Format, int, int]:
        with path.open("rb") as file:
            format, start, stop, size, _ = _parse_header(file.read(_HEADER.size))
            expected = _HEADER.size + (stop - start) * INDEX_ENTRY_BYTES + size
            actual = os.fstat(file.fileno()).st_size
        if path != self.path(format, start):
            raise SnapshotError("file name does not match the header")
        if actual != expected:
            raise SnapshotError("wrong file size")
        return format, start, stop

    def load(self, block: Block, ends: memoryview, data: memoryview) -> None:
        """Read a block from its file and verify it.

        Args:
            block: The block.
            ends: Receives the index entries; its content is undefined after an error.
            data: Receives the bytes; its content is undefined after an error.

        Raises:
            SnapshotError: The file is damaged or unsuitable.
            OSError: The file cannot be read.
        """
        with self.path(block.format, block.start).open("rb", buffering=0) as file:
            format, start, stop, size, checksum = _parse_header(file.read(_HEADER.size))
            if (format, start, stop, size) != (block.format, block.start, block.stop, block.size):
                raise SnapshotError(f"contains {format.name} elements {start} to {stop - 1}")
            expected = len(ends) + size
            if os.readv(file.fileno(), [ends, data]) != expected or file.read(1):
                raise SnapshotError("wrong file size")
        if _checksum(ends, data) != checksum:
            raise SnapshotError("checksum mismatch")
        _check_last(block, ends, data)

    def save(self, block: Block, ends: memoryview, data: memoryview) -> None:
        """Write the file of a block atomically.

        Args:
            block: The block.
            ends: Its index entries.
            data: Its bytes.

        Raises:
            OSError: The file cannot be written or flushed; an existing file is never damaged.
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
        """Remove the file of a block, if it exists.

        Raises:
            OSError: The file cannot be removed.
        """
        self.path(block.format, block.start).unlink(missing_ok=True)

    def _flush_directory(self) -> None:
        """Flush the directory, so that renames survive a crash, if the file system supports it.

        Without this a rename may be lost, but no file is ever incomplete.

        Raises:
            OSError: The disk failed.
        """
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_FLUSH:
                raise


def _parse_header(header: bytes) -> tuple[Format, int, int, int, int]:
    if len(header) < _HEADER.size:
        raise SnapshotError("wrong file size")
    magic, order, version, name, start, stop, size, checksum = _HEADER.unpack(header)
    if magic != MAGIC:
        raise SnapshotError("not a fibserver block file")
    if order != _BYTE_ORDER:
        raise SnapshotError(f"byte order differs from this machine's ({sys.byteorder}-endian)")
    if version != VERSION:
        raise SnapshotError(f"version {version}, expected {VERSION}")
    format = FORMATS.get(name.rstrip(b"\0").decode("ascii", "replace"))
    if format is None or not start < stop:
        raise SnapshotError("damaged header")
    return format, start, stop, size, checksum


def _checksum(ends: memoryview, data: memoryview) -> int:
    # Detects damage, not tampering; four times as fast as any digest of hashlib.
    return crc32(data, crc32(ends))


def _check_last(block: Block, ends: memoryview, data: memoryview) -> None:
    """Raise `SnapshotError` if the last element differs from a computed one."""
    last: list[bytes] = []
    end = render(block.format, block.stop - 1, block.stop, lambda chunk, _: last.append(chunk))[0]
    expected = b"".join(last)
    if data[-len(expected) :] != expected or ends.cast("Q")[-1] != end:
        raise SnapshotError(f"element {block.stop - 1} is wrong")


def _reason(error: SnapshotError | OSError) -> str:
    if isinstance(error, OSError):
        return f"unreadable ({error.strerror})"
    return str(error)
