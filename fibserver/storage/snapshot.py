"""Files of the snapshot in `state_dir`, one for each saved block.

A block never changes, and a far block depends on the format and the requested elements alone. So
a file stays valid forever, no file depends on another, and a damaged file costs only its own
block. Its name identifies the block:

    text-10000000-10000001.v3.block      header with a checksum, bytes of the elements

A file is written under a temporary name, flushed and renamed, so it is never incomplete. A loaded
block is verified by its checksum, and the last digits of its last number by arithmetic. Its time
of modification is set at each use: the files used longest ago are removed first.

Workers call this module; `fibserver.storage.persistence` decides what is saved and when.
"""

import contextlib
import errno
import os
import stat
import struct
import time
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from fibserver.compute.rendering import RenderingError, verify_last
from fibserver.memory.blocks import Block

__all__ = ["Snapshot", "SnapshotError", "SnapshotSize", "checksum"]

VERSION = 3
"""Version of the files. Increment it when the encoding of a format or the header changes."""

_HEADER = struct.Struct("<8sI")
_MAGIC = b"fibblock"
_SUFFIX = ".block"
_OWN_SUFFIX = f".v{VERSION}{_SUFFIX}"
_TEMPORARY_SUFFIX = ".new"

_TEMPORARY_SECONDS = 3600.0
"""Age at which a temporary file must be left from a worker that died."""

_TRIMMED_SHARE = 0.9
"""Share of the limit that trimming leaves, so that it is not needed after each further block."""

_NO_DIRECTORY_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Errors that show that the file system or permissions do not allow flushing a directory."""


class SnapshotError(Exception):
    """A file that is damaged or unsuitable; the message omits the path."""


class SnapshotSize(NamedTuple):
    """Number of files, and their size in bytes."""

    blocks: int
    size_bytes: int


class Snapshot:
    """The files of blocks in a directory.

    Attributes:
        directory: The directory, `state_dir`.
        limit_bytes: Maximum size of all files, `state_limit`.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes

    def path(self, block: Block) -> Path:
        """Return the path of the file of a block."""
        return self.directory / f"{block.format.name}-{block.start}-{block.stop}{_OWN_SUFFIX}"

    def load(self, block: Block, data: memoryview) -> bool:
        """Read a block from its file and verify it.

        Args:
            block: The block.
            data: Receives the bytes; its content is undefined after an error.

        Returns:
            Whether there is a file.

        Raises:
            SnapshotError: The file is damaged.
            OSError: The file cannot be read.
        """
        path = self.path(block)
        try:
            # A named pipe in the directory would block until it has a writer.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SnapshotError("not a regular file")
            header = bytearray(_HEADER.size)
            received = os.readv(file.fileno(), [header, data])
            if received != len(header) + len(data) or file.read(1):
                raise SnapshotError("wrong file size")
        magic, expected = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise SnapshotError("not a block of fibserver")
        if checksum(block, data) != expected:
            raise SnapshotError("checksum mismatch")
        try:
            verify_last(block.format, block.stop - 1, data)
        except RenderingError as error:
            raise SnapshotError(str(error)) from error
        with contextlib.suppress(OSError):  # on a read-only disk the order of removal is lost
            os.utime(path)
        return True

    def save(self, block: Block, data: memoryview, expected: int) -> SnapshotSize:
        """Write the file of a block atomically.

        Args:
            block: The block.
            data: Its bytes.
            expected: Their checksum when they were computed.

        Returns:
            By how much the snapshot has grown; a file may have been replaced.

        Raises:
            OSError: The file cannot be written or flushed; an existing file is never damaged.
            SnapshotError: The bytes have changed since they were computed.
        """
        if checksum(block, data) != expected:
            raise SnapshotError("the block has changed in memory")
        path = self.path(block)
        temporary = path.with_suffix(f".{os.getpid()}{_TEMPORARY_SUFFIX}")
        try:
            with temporary.open("wb") as file:
                file.writelines([_HEADER.pack(_MAGIC, expected), data])
                file.flush()
                os.fsync(file.fileno())
            grown = SnapshotSize(1, temporary.stat().st_size)
            with contextlib.suppress(FileNotFoundError):
                grown = SnapshotSize(0, grown.size_bytes - path.lstat().st_size)
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._flush_directory()
        return grown

    def trim(self) -> SnapshotSize:
        """Remove old temporary files, files of other versions, and the oldest above the limit.

        Creates the directory if it is missing.

        Returns:
            What is left.

        Raises:
            OSError: The directory cannot be created or read, or a file cannot be removed.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files: list[tuple[float, int, Path]] = []
        for path in self.directory.iterdir():
            # Another server may use the directory: files may vanish, or be written just now.
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                if path.name.endswith(_OWN_SUFFIX):
                    files.append((status.st_mtime, status.st_size, path))
                elif path.name.endswith(_SUFFIX) or (
                    path.name.endswith(_TEMPORARY_SUFFIX)
                    and status.st_mtime < time.time() - _TEMPORARY_SECONDS
                ):
                    path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in files)
        if total > self.limit_bytes:
            files.sort(reverse=True)
            while files and total > self.limit_bytes * _TRIMMED_SHARE:
                _, size, path = files.pop()
                path.unlink(missing_ok=True)
                total -= size
        return SnapshotSize(len(files), total)

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


def checksum(block: Block, data: memoryview) -> int:
    """Return the checksum of a block; never 0.

    It covers the name of the block, so that a file under another name is detected: blocks of two
    formats may have the same size and end with the same digits.
    """
    # Detects damage, not tampering; four times as fast as any digest of hashlib.
    name = f"{block.format.name}-{block.start}-{block.stop}"
    return crc32(data, crc32(name.encode())) or 1
