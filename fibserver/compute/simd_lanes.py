"""Lanes: the decimal digits of many consecutive Fibonacci numbers at once.

`str(Decimal)` has to divide its way from base 10^19 to every single digit. Here a number is a
row of *words* in base 10^4 instead, the most significant one first, and a word becomes four
digits by one look-up in a table of 10,000. One number is too short for numpy, whose every call
costs as much as a thousand words; so a run of consecutive numbers is cut into *lanes* of equal
length, which are added in lockstep:

            step 0    1       2                        lane 0 ends with the pair that
    lane 0  F(m)    F(m+1)  F(m+2) …  F(m+s-1) ──┐     lane 1 began with, and so on
    lane 1  F(m+s)  …  <─────────────────────────┘
    lane 2  F(m+2s) …

Facts about wrong words, and what they mean here. A step can be undone: two neighbours tell all
numbers before them. So if a word goes wrong anywhere in a lane, the pair at its end is wrong too.
`meet` compares each end with the next lane's beginning, and the last one with a pair that the
caller has from elsewhere; if all are equal, all numbers between are right.

A number's digits are those of its row, without the zeros in front. How many they are is seen,
not predicted: at the beginning of a lane they are those of `str`; and as no number is smaller
than the one before or larger than twice that, each has as many digits as the one before, or
one more if there is no zero in the next place. What is cut off is thus all zero, if the
numbers are right; and that the digits are as many as predicted is left for the caller to see.

This is arithmetic alone: bytes and the places where they go are for `fibserver.compute.rendering`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lanes", "Pair"]

Pair: TypeAlias = tuple[Decimal, Decimal]
"""A Fibonacci number and the next one."""

WORD_DIGITS = 4
"""Two words and a carry fit 16 bits, and the table the processor's cache: 40 KB."""

# Of numpy's own types, not Python's: numpy < 2 would widen whole rows to what an int may need.
_BASE = np.uint16(10**WORD_DIGITS)
_ONE = np.uint16(1)

_ZERO = ord("0")


def _table() -> NDArray[np.uint32]:
    """Return the digits of every word, as four bytes of text in the order of memory."""
    text = "".join(f"{word:04}" for word in range(10**WORD_DIGITS))
    return np.frombuffer(text.encode("ascii"), np.uint32)


_TABLE = _table()


class Lanes:
    """Runs of consecutive Fibonacci numbers, one a lane, at the same step each."""

    def __init__(self, pairs: Sequence[Pair], most_digits: int, steps_at_once: int) -> None:
        """Begin each lane with a pair.

        Args:
            pairs: F(n) and F(n+1) for the first n of each lane, in order.
            most_digits: no number in any lane will have more, `meet` included.
            steps_at_once: the most that `advance` will be asked for.

        Raises:
            OverflowError: a pair has more digits.
        """
        # A word more than needed stays zero, so no carry ever leaves a lane.
        shape = (len(pairs), -(-most_digits // WORD_DIGITS) + 1)
        numbers = [str(current) for current, _ in pairs]
        self._digits = [len(number) for number in numbers]
        self._current = _words(numbers, shape[1])
        self._following = _words([str(following) for _, following in pairs], shape[1])
        self._first = self._current.copy(), self._following.copy()
        self._spare = np.empty(shape, np.uint16)
        self._carry = np.empty(shape, np.uint16)
        self._text = np.empty((steps_at_once, *shape), np.uint32)
        self._bytes = self._text.reshape(-1).view(np.uint8).data

    def advance(self, steps: int) -> list[list[memoryview]]:
        """Return the digits of the next numbers of each lane; the next call overwrites them."""
        for text in self._text[:steps]:
            # "clip" spares numpy a copy; no word is out of the table's range.
            np.take(_TABLE, self._current, out=text, mode="clip")
            self._add()
        row_size = self._current.shape[1] * WORD_DIGITS
        step_size = len(self._current) * row_size
        return [
            self._cut(lane, range((lane + 1) * row_size, steps * step_size + 1, step_size))
            for lane in range(len(self._current))
        ]

    def _cut(self, lane: int, row_ends: range) -> list[memoryview]:
        """Return the rows of a lane without the zeros in front; they end at `row_ends`."""
        text, digits = self._bytes, self._digits[lane]
        numbers = []
        for end in row_ends:
            if text[end - digits - 1] != _ZERO:
                digits += 1
            numbers.append(text[end - digits : end])
        self._digits[lane] = digits
        return numbers

    def _add(self) -> None:
        """Take one step in every lane."""
        # Rows lie end to end, so one shifted addition carries in all lanes.
        total, carry = self._spare.reshape(-1), self._carry.reshape(-1)
        np.add(self._current, self._following, out=self._spare)
        np.floor_divide(total, _BASE, out=carry)
        total[:-1] += carry[1:]
        carry *= _BASE
        total -= carry
        # A carry into 9999 has to be carried on; that is one word in 20,000.
        for position in (total == _BASE).nonzero()[0].tolist():
            while total[position] == _BASE:
                total[position] = 0
                position -= 1
                total[position] += _ONE
        self._current, self._following, self._spare = self._following, self._spare, self._current

    def meet(self, pair: Pair) -> bool:
        """Return whether each lane has come to where the next began, and the last to `pair`."""
        width = self._current.shape[1]
        ends = self._current, self._following
        return all(
            np.array_equal(end[:-1], first[1:])
            and np.array_equal(end[-1:], _words([str(number)], width))
            for end, first, number in zip(ends, self._first, pair, strict=True)
        )


def _words(numbers: Sequence[str], width: int) -> NDArray[np.uint16]:
    """Return a row of `width` words for each number.

    Raises:
        OverflowError: one is longer.
    """
    row_size = width * WORD_DIGITS
    longest = max(map(len, numbers))
    if longest > row_size:
        raise OverflowError(f"{longest} digits in a row of {row_size}")
    # Digits a, b, c, d lie in memory in this order, so little-endian makes them 0x0d0c0b0a.
    text = "".join(number.rjust(row_size, "0") for number in numbers).encode("ascii")
    digits = np.frombuffer(text, "<u4") & np.uint32(0x0F0F0F0F)
    pairs = (digits * np.uint32(10) + (digits >> np.uint32(8))) & np.uint32(0x00FF00FF)
    words = (pairs * np.uint32(100) + (pairs >> np.uint32(16))) & np.uint32(0xFFFF)
    return words.astype(np.uint16).reshape(len(numbers), width)
