"""Text files that people write: UTF-8, with or without a byte order mark.

Editors and shells of Windows put a mark in front of UTF-8, or save UTF-16.

A service reads its files when it starts and at each reload. What can be read only once, such as a
pipe from a shell's `<(…)`, is read at the start and kept. A reload never waits for a writer.
"""

import codecs
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["read_text_file"]

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""UTF-32 in little-endian order begins as UTF-16 does."""

_kept: dict[Path, bytes] = {}
"""What was read from files that can be read only once."""


def _all(file: IO[bytes]) -> bytes:
    return file.read()


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
        ValueError: The mark is that of UTF-16 or UTF-32, there is a NUL in the path, or a reload
            found a pipe where the start has found none.
    """
    if is_reload and path in _kept:
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
