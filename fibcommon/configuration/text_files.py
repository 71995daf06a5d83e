"""Reader of configuration and password files: UTF-8, with or without a byte order mark.

Editors and shells of Windows write a byte order mark before UTF-8, or write UTF-16.

A service reads its files at the start and at each reload. A file that can be read only once, such
as the pipe of a shell's `<(…)`, is read at the start and its contents are kept until a regular
file replaces it. A reload never waits for a writer, and the size of a file is bounded.
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
"""Reading a file blocks the service. All settings with comments have 3 KB."""

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Little-endian UTF-32 begins with the mark of little-endian UTF-16."""

_kept: dict[Path, bytes] = {}
"""Contents of files that can be read only once."""


def _all(file: IO[bytes]) -> bytes:
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES:,} bytes")
    return data


def read_text_file(
    path: Path, read: Callable[[IO[bytes]], bytes] = _all, *, is_reload: bool = False
) -> bytes:
    """Return the contents of a text file, without a byte order mark of UTF-8.

    Args:
        path: Path of the file.
        read: Reads the required part of the file; by default all of it.
        is_reload: Whether the service is already running.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is UTF-16 or UTF-32 or too large for the default `read`, the path
            contains a NUL, or a reload found a pipe that was not there at the start.
    """
    if is_reload and path in _kept and not path.is_file():
        log.info("%s cannot be read again: keeping the contents read at the start", path)
        return _without_mark(_kept[path])

    def opener(name: str, flags: int) -> int:
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        return os.open(name, flags | os.O_NONBLOCK if is_reload else flags)

    with open(path, "rb", opener=opener) as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        if is_reload and not is_regular:
            raise ValueError("not a regular file: it can be read only at the start")
        data = read(file)
    if is_regular:
        _kept.pop(path, None)
    else:
        _kept[path] = data
    return _without_mark(data)


def _without_mark(data: bytes) -> bytes:
    if data.startswith(_WIDE_MARKS):
        raise ValueError("the byte order mark is that of UTF-16 or UTF-32; save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)
