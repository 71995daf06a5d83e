"""Text files that people write: UTF-8, with or without a byte order mark.

Editors and shells of Windows put a mark in front of UTF-8, or save UTF-16.

A service reads its files when it starts and at each reload. What can be read only once, such as a
pipe from a shell's `<(…)`, is read at the start and kept until a regular file takes its place. A
reload never waits for a writer, and no reading takes more than a small file has.
"""

import codecs
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["MAX_FILE_BYTES", "read_text_file"]

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1024 * 1024
"""A service does nothing else while it reads a file; all its settings with comments have 3 KB."""

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""UTF-32 in little-endian order begins as UTF-16 does."""

_kept: dict[Path, bytes] = {}
"""What was read from files that can be read only once."""


def _all(file: IO[bytes]) -> bytes:
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES:,} bytes")
    return data


def read_text_file(
    path: Path, read: Callable[[IO[bytes]], bytes] = _all, *, is_reload: bool = False
) -> bytes:
    """Return the beginning of a text file, without the byte order mark of UTF-8.

    Args:
        path: Of the file.
        read: Reads from it as much as is needed.
        is_reload: Whether the service has started already.

    Raises:
        OSError: The file cannot be read.
        ValueError: The mark is that of UTF-16 or UTF-32, there is a NUL in the path, the file is
            too large, or a reload found a pipe where the start has found none.
    """
    if is_reload and path in _kept and not path.is_file():
        log.info("%s cannot be read again: what the start has read is kept", path)
        return _without_mark(_kept[path])

    def opener(name: str, flags: int) -> int:
        # Without a writer the opening of a FIFO blocks.
        return os.open(name, flags | os.O_NONBLOCK if is_reload else flags)

    with open(path, "rb", opener=opener) as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        if is_reload and not is_regular:
            raise ValueError("not a regular file: only a start can read it")
        data = read(file)
    if not is_regular:
        _kept[path] = data
    return _without_mark(data)


def _without_mark(data: bytes) -> bytes:
    if data.startswith(_WIDE_MARKS):
        raise ValueError("the byte order mark is that of UTF-16 or UTF-32; save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)
