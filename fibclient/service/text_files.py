"""Text files that people write: UTF-8, with or without a byte order mark.

Editors and shells of Windows put a mark in front of UTF-8, or save UTF-16.
"""

import codecs

__all__ = ["without_mark"]

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""UTF-32 in little-endian order begins as UTF-16 does."""


def without_mark(data: bytes) -> bytes:
    """Return the beginning of a text file without the byte order mark of UTF-8.

    Raises:
        ValueError: The mark is that of UTF-16 or UTF-32.
    """
    if data.startswith(_WIDE_MARKS):
        raise ValueError("the byte order mark is that of UTF-16 or UTF-32; save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)
