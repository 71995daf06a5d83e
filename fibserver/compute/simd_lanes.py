"""SIMD-like lanes that compute the decimal digits of many consecutive Fibonacci numbers.

`str(Decimal)` needs a division for every digit to convert base 10^19 to text. Here a number is a
row of words (`fibserver.compute.decimal_words`). A single number is too short for numpy, where a
call costs as much as a thousand words. So a run of consecutive numbers is cut into *lanes* of
equal length, which are added in lockstep:

            step 0    1       2                        lane 0 ends with the pair that
    lane 0  F(m)    F(m+1)  F(m+2) …  F(m+s-1) ──┐     lane 1 began with, and so on
    lane 1  F(m+s)  …  <─────────────────────────┘
    lane 2  F(m+2s) …

Verification: every step is reversible, as two consecutive numbers determine all earlier ones. So
if a word anywhere in a lane is wrong, the pair at its end is wrong too. `are_consistent`
compares the end of each lane with the start of the next, and the caller verifies the last pair. If
both are right, so are all numbers between.

The text of a number is its row without leading zeros. Its length is counted, not predicted: at the
start of a lane it is that of `str`, and since each number is at least the previous one and at most
twice it, each has as many digits as the previous one, or one more if the next digit is not zero.
So only zeros are cut off if the numbers are right; the caller checks the length.

This module only does arithmetic; `fibserver.compute.rendering` places the bytes.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import numpy as np

from fibserver.compute.decimal_words import DIGITS_OF_WORDS, WORD_DIGITS, number_of, words_of

__all__ = ["Lanes", "Pair"]

Pair: TypeAlias = tuple[Decimal, Decimal]
"""A Fibonacci number and the next one."""

# With a Python int, numpy < 2 would convert whole rows to a wider type.
_BASE = np.uint16(10**WORD_DIGITS)
_ONE = np.uint16(1)

_ZERO = ord("0")


class Lanes:
    """Lanes of consecutive Fibonacci numbers that advance in lockstep."""

    def __init__(self, pairs: Sequence[Pair], max_digits: int, steps_at_once: int) -> None:
        """Start each lane with a pair.

        Args:
            pairs: F(n) and F(n+1) for the first n of each lane, in order.
            max_digits: Maximum digits of a number, including those of the last pair.
            steps_at_once: Maximum steps per call of `advance`.

        Raises:
            OverflowError: A number of a pair has more digits.
        """
        # One additional word stays zero, so no carry ever leaves a lane.
        shape = (len(pairs), -(-max_digits // WORD_DIGITS) + 1)
        numbers = [str(current) for current, _ in pairs]
        self._digits = [len(number) for number in numbers]
        self._current = words_of(numbers, shape[1])
        self._following = words_of([str(following) for _, following in pairs], shape[1])
        self._first = self._current.copy(), self._following.copy()
        self._spare = np.empty(shape, np.uint16)
        self._carry = np.empty(shape, np.uint16)
        self._text = np.empty((steps_at_once, *shape), np.uint32)
        self._bytes = self._text.reshape(-1).view(np.uint8).data

    def advance(self, steps: int) -> list[list[memoryview]]:
        """Return the digits of the next numbers of each lane; the next call overwrites them.

        Args:
            steps: How many numbers of each lane.
        """
        for text in self._text[:steps]:
            # mode="clip" avoids a copy; every word is within the table.
            np.take(DIGITS_OF_WORDS, self._current, out=text, mode="clip")
            self._add()
        row_size = self._current.shape[1] * WORD_DIGITS
        step_size = len(self._current) * row_size
        return [
            self._cut(lane, range((lane + 1) * row_size, steps * step_size + 1, step_size))
            for lane in range(len(self._current))
        ]

    def _cut(self, lane: int, row_ends: range) -> list[memoryview]:
        """Return the rows of a lane that end at `row_ends`, without leading zeros."""
        text, digits = self._bytes, self._digits[lane]
        numbers = []
        for end in row_ends:
            if text[end - digits - 1] != _ZERO:
                digits += 1
            numbers.append(text[end - digits : end])
        self._digits[lane] = digits
        return numbers

    def _add(self) -> None:
        """Advance every lane by one number."""
        # The rows are contiguous, so one shifted addition carries in all lanes.
        total, carry = self._spare.reshape(-1), self._carry.reshape(-1)
        np.add(self._current, self._following, out=self._spare)
        np.floor_divide(total, _BASE, out=carry)
        total[:-1] += carry[1:]
        carry *= _BASE
        total -= carry
        # A carry into 9999 overflows again, which happens for one word in 20,000.
        for position in (total == _BASE).nonzero()[0].tolist():
            while total[position] == _BASE:
                total[position] = 0
                position -= 1
                total[position] += _ONE
        self._current, self._following, self._spare = self._following, self._spare, self._current

    @property
    def are_consistent(self) -> bool:
        """Whether each lane ends with the pair that the next one began with."""
        ends = self._current, self._following
        return all(
            np.array_equal(end[:-1], first[1:])
            for end, first in zip(ends, self._first, strict=True)
        )

    @property
    def last_pair(self) -> Pair:
        """The pair after the last number of the last lane."""
        return number_of(self._current[-1]), number_of(self._following[-1])
