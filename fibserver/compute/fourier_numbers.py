"""Large natural numbers whose products are computed by the fast Fourier transform of numpy.

A number is a polynomial in its base: its words are the coefficients. The product of two
polynomials is that of their transforms (A. Schönhage and V. Strassen, Schnelle Multiplikation
großer Zahlen, Computing 7, 1971). A transform of floats takes a third of the time of the exact one
in `decimal`. With words of decimal digits no conversion is needed at the end, on which GMP spends
most of its time.

Coefficients are exact: integers below 2^53 in floats. Before a product they are *balanced*, that
is, carried into the range of ±base/2, which keeps the rounding errors of the transform small: for
F(100,000,000) the largest is 0.00003 with decimal words, and 0.0015 with binary ones. A product
with an error above `MAX_ERROR` raises, since the nearest integer might be wrong. That is a check,
not a proof, so the results are verified as all others are (`fibserver.compute.rendering`).
"""

from decimal import Decimal
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.fft import irfft, rfft
from numpy.typing import NDArray

from fibserver.compute.decimal_words import WORD_DIGITS, number_of, words_of

__all__ = ["BinaryNumber", "DecimalNumber", "FourierNumber", "InexactProduct"]

Result = TypeVar("Result", int, Decimal)

MAX_ERROR = 0.125
"""Largest rounding error accepted in a product; at 0.5 the nearest integer would be wrong."""

_ODD_FACTORS = (1, 3, 5, 9, 15, 25, 27)
"""Transforms are fastest if their size has only small prime factors."""


class InexactProduct(ArithmeticError):
    """The rounding errors of a product are too large."""


class FourierNumber(Generic[Result]):
    """A natural number that can be added, subtracted and multiplied.

    Attributes:
        base: The base of the words.
    """

    base: ClassVar[int]

    __slots__ = ("_coefficients", "_is_balanced")

    def __init__(self, value: int) -> None:
        """Convert a small number.

        Args:
            value: The number, 0 <= value < 10^4000.
        """
        self._coefficients = self._words_of(value).astype(np.float64)
        self._is_balanced = False

    def result(self) -> Result:
        """Return the number as `int` or `Decimal`."""
        raise NotImplementedError

    @staticmethod
    def _words_of(value: int) -> NDArray[np.uint16]:
        """Return the words of a number, the least significant one first."""
        raise NotImplementedError

    def __add__(self, other: Self) -> Self:
        """Return the sum."""
        return self._combined(other, np.add)

    def __sub__(self, other: Self) -> Self:
        """Return the difference, which must not be negative."""
        return self._combined(other, np.subtract)

    def __mul__(self, other: Self) -> Self:
        """Return the product.

        Raises:
            InexactProduct: The numbers are too large for floats.
        """
        for number, factor in ((self, other), (other, self)):
            if len(factor._coefficients) == 1:
                return self._new(number._coefficients * factor._coefficients[0])
        one = self._balanced()
        two = one if other is self else other._balanced()
        size = _transform_size(len(one) + len(two))
        transform = rfft(one, size)
        transform *= transform if two is one else rfft(two, size)
        product = irfft(transform, size)
        coefficients = np.rint(product)
        product -= coefficients
        if max(product.max(), -product.min()) > MAX_ERROR:
            raise InexactProduct(f"a product of {len(one)} by {len(two)} words is inexact")
        return self._new(coefficients[: len(one) + len(two)])

    def words(self) -> NDArray[np.int64]:
        """Return the words, each 0 to base - 1, the most significant one first."""
        coefficients = _carried(self._coefficients, self.base, np.floor)
        return coefficients[::-1].astype(np.int64)

    def _balanced(self) -> NDArray[np.float64]:
        if not self._is_balanced:
            carried = _carried(self._coefficients, self.base, np.rint)
            self._coefficients = carried[: carried.nonzero()[0].max(initial=0) + 1]
            self._is_balanced = True
        return self._coefficients

    def _combined(self, other: Self, operation: np.ufunc) -> Self:
        one, two = self._coefficients, other._coefficients
        if len(one) < len(two):
            one = np.append(one, np.zeros(len(two) - len(one)))
        result = one.copy()
        operation(one[: len(two)], two, out=result[: len(two)])
        return self._new(result)

    def _new(self, coefficients: NDArray[np.float64]) -> Self:
        number = object.__new__(type(self))
        number._coefficients = coefficients
        number._is_balanced = False
        return number


class DecimalNumber(FourierNumber[Decimal]):
    """A natural number whose words have four decimal digits."""

    base = 10**WORD_DIGITS

    def result(self) -> Decimal:
        """Return the number as a `Decimal`."""
        return number_of(self.words())

    @staticmethod
    def _words_of(value: int) -> NDArray[np.uint16]:
        text = str(value)
        return words_of([text], -(-len(text) // WORD_DIGITS))[0, ::-1]


class BinaryNumber(FourierNumber[int]):
    """A natural number whose words have 16 bits."""

    base = 1 << 16

    def result(self) -> int:
        """Return the number as an `int`."""
        return int.from_bytes(self.words().astype(">u2").tobytes(), "big")

    @staticmethod
    def _words_of(value: int) -> NDArray[np.uint16]:
        size = 2 * max(1, -(-value.bit_length() // 16))
        return np.frombuffer(value.to_bytes(size, "little"), "<u2")


def _carried(
    coefficients: NDArray[np.float64], base: int, quotient: np.ufunc
) -> NDArray[np.float64]:
    """Return the coefficients of the same number that are all in one range.

    Args:
        coefficients: Any coefficients; they are not modified.
        base: Base.
        quotient: `np.floor` for the range 0 to base - 1, `np.rint` for ±base/2.
    """
    result = np.append(coefficients, [0.0, 0.0])  # room for the last carries
    carry, carried = np.empty_like(result), np.empty_like(result)
    while True:
        np.multiply(result, 1 / base, out=carry)
        quotient(carry, out=carry)  # off by one at times, as 1 / base is rounded: carried later
        if not carry.any():
            return result
        np.multiply(carry, base, out=carried)
        result -= carried
        result[1:] += carry[:-1]


def _transform_size(minimum: int) -> int:
    """Return the least even size, at least `minimum`, of a fast transform."""
    return min(
        factor << max(1, (-(-minimum // factor) - 1).bit_length()) for factor in _ODD_FACTORS
    )
