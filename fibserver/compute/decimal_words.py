"""Decimal digits as rows of words in base 10^4, most significant word first.

A word becomes four digits by one lookup in a table of 10,000, and the table of 40 KB fits in the
cache of the processor.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGITS_OF_WORDS", "WORD_DIGITS", "digits_of", "number_of", "words_of"]

WORD_DIGITS = 4
"""Decimal digits of a word. With four, the sum of two words and a carry fits in 16 bits."""


def _table() -> NDArray[np.uint32]:
    words = np.arange(10**WORD_DIGITS)[:, np.newaxis]
    digits = words // [1000, 100, 10, 1] % 10 + ord("0")
    return digits.astype(np.uint8).view(np.uint32).reshape(-1)


DIGITS_OF_WORDS = _table()
"""The four ASCII digits of each word, in the order of memory."""


def digits_of(words: NDArray[np.integer]) -> bytes:
    """Return the digits of a row, with leading zeros.

    Args:
        words: Words, each 0 to 9,999.
    """
    # mode="clip" avoids a copy; every word is within the table.
    return np.take(DIGITS_OF_WORDS, words, mode="clip").tobytes()


def number_of(words: NDArray[np.integer]) -> Decimal:
    """Return the number of a row.

    Args:
        words: Words, each 0 to 9,999.
    """
    return Decimal(digits_of(words).decode("ascii"))


def words_of(numbers: Sequence[str], width: int) -> NDArray[np.uint16]:
    """Return a row for each number.

    Args:
        numbers: Decimal numbers, each >= 0.
        width: Words of each row.

    Raises:
        OverflowError: A number is longer than a row.
    """
    row_size = width * WORD_DIGITS
    longest = max(map(len, numbers))
    if longest > row_size:
        raise OverflowError(f"{longest} digits exceed a row of {row_size}")
    # A little-endian integer reads the digits a, b, c, d as 0x0d0c0b0a.
    text = "".join(number.rjust(row_size, "0") for number in numbers).encode("ascii")
    digits = np.frombuffer(text, "<u4") & np.uint32(0x0F0F0F0F)
    pairs = (digits * np.uint32(10) + (digits >> np.uint32(8))) & np.uint32(0x00FF00FF)
    words = (pairs * np.uint32(100) + (pairs >> np.uint32(16))) & np.uint32(0xFFFF)
    return words.astype(np.uint16).reshape(len(numbers), width)
