"""Cost model: predicted time for one worker to compute a slice.

Queues run the cheapest work first and bound the waiting time. The prediction need not be exact:
they scale it by the measured duration of recent work.

There are two costs. The first element of a slice is computed by fast doubling, where the last
multiplications dominate: nearly linear in n with Fourier transforms. Numbers that are too large
for those use `decimal`, which takes twice as long and is nearly linear too, or, for the format
`binary`, `int` (Karatsuba's method, about n^1.65). Each further element is an addition and a
conversion, linear in the bytes written. The factors were measured with
`fibserver.compute.rendering` on one core of 2024 beside other load (F(10,000,000) as text: 0.22 s,
about twice the time on an idle machine).

The functions for single numbers (`fibcommon.digits`, `modular` and `indices`) have cost functions
of their own. They use `int` arithmetic on numbers of at most a few thousand digits.
"""

import math

from fibcommon.formats import Format

__all__ = [
    "EXPENSIVE_SECONDS",
    "LOOP_SECONDS",
    "MAX_FOURIER_INDEX",
    "digits_seconds",
    "first_element_seconds",
    "listed_digits_seconds",
    "modular_seconds",
    "predicted_seconds",
    "slice_seconds",
    "zeckendorf_seconds",
]

EXPENSIVE_SECONDS = 0.02
"""Work that costs more is expensive: it leaves one worker or thread free, if there are several."""

LOOP_SECONDS = 0.002
"""Work that costs more is not done on an event loop, where others would wait for it."""

MAX_FOURIER_INDEX = 100_000_000
"""Largest index whose number is computed with Fourier transforms, in 0.3 GB of working memory."""

FIXED_SECONDS = 1e-4
FOURIER_SECONDS_PER_INDEX = 2.2e-8
DECIMAL_SECONDS_PER_INDEX = 4.2e-8
INT_SECONDS_AT_REFERENCE = 0.0107
INT_REFERENCE_INDEX = 300_000
INT_EXPONENT = 1.65
SECONDS_PER_BYTE = 3e-9

SMALL_MODULUS_BITS = 15
"""Up to here `int` has squares of one digit of its own (a limb), which are fastest."""

SMALL_MODULAR_STEP_SECONDS = 3.5e-7
MODULAR_STEP_SECONDS = 7e-7
MODULAR_SECONDS_PER_LIMB = 1e-7
MODULAR_SECONDS_PER_SQUARED_LIMB = 4.6e-9
BITS_PER_LIMB = 30
FIRST_DIGITS_SECONDS_PER_SQUARED_BIT = 1e-10
SINGLE_NUMBER_SECONDS = 2e-5
LISTED_NUMBER_SECONDS = 6e-6
LISTED_SECONDS_PER_SQUARED_DIGIT = 1.5e-11
LISTED_SECONDS_PER_SQUARED_INDEX_BIT = 5e-12
ZECKENDORF_SECONDS_PER_INDEX = 1.5e-7

MAX_PREDICTED_INDEX = 10**15
"""Larger than any max_index; keeps the results within the range of floats."""


def predicted_seconds(format: Format, start: int, stop: int) -> float:
    """Return the time that a worker needs to compute F(start) to F(stop-1).

    Args:
        format: Format of the elements.
        start: First index, >= 0.
        stop: Index after the last, >= start.
    """
    return slice_seconds(format, start, format.offset(stop) - format.offset(start))


def slice_seconds(format: Format, start: int, size_bytes: int) -> float:
    """Return the same as `predicted_seconds`, for a slice of known size.

    Args:
        format: Format of the elements.
        start: First index, >= 0.
        size_bytes: Size of the slice.
    """
    return first_element_seconds(format, start) + size_bytes * SECONDS_PER_BYTE


def first_element_seconds(format: Format, n: int) -> float:
    """Return the time that a worker needs to compute F(n) by fast doubling.

    Args:
        format: Format of the element, which determines the arithmetic.
        n: Index, >= 0.
    """
    if n <= MAX_FOURIER_INDEX:
        return FIXED_SECONDS + FOURIER_SECONDS_PER_INDEX * n
    n = min(n, MAX_PREDICTED_INDEX)
    if format.name == "binary":
        scale = math.pow(n / INT_REFERENCE_INDEX, INT_EXPONENT)
        return FIXED_SECONDS + INT_SECONDS_AT_REFERENCE * scale
    return FIXED_SECONDS + DECIMAL_SECONDS_PER_INDEX * n


def modular_seconds(n: int, modulus: int) -> float:
    """Return the time for F(n) mod m by fast doubling, 0.2 s at most within the bounds.

    Args:
        n: Index, >= 0.
        modulus: Modulus, >= 1.
    """
    return _doubling_seconds(n.bit_length(), modulus.bit_length())


def digits_seconds(n: int, first: int, last: int) -> float:
    """Return the time for the number of digits of F(n), the first and the last digits.

    The time for the first logarithms of a precision, 15 ms at most, is not included
    (`fibcommon.logarithms`).

    Args:
        n: Index, >= 0.
        first: How many of the first digits.
        last: How many of the last digits.
    """
    first_bits, by_two, by_five = (math.ceil(count) for count in (3.33 * first, last, 2.33 * last))
    return (
        SINGLE_NUMBER_SECONDS
        + first_bits * first_bits * FIRST_DIGITS_SECONDS_PER_SQUARED_BIT
        # The index is reduced modulo the period, of 2 bits more than the modulus.
        + _doubling_seconds(min(n.bit_length(), by_two + 2), by_two)
        + _doubling_seconds(min(n.bit_length(), by_five + 2), by_five)
    )


def listed_digits_seconds(n: int, count: int, first: int, last: int) -> float:
    """Return the time for the digits of consecutive numbers, and to encode them.

    Args:
        n: Index of the first number, >= 0.
        count: How many numbers.
        first: How many of the first digits of each.
        last: How many of the last digits of each.
    """
    # The first digits of two numbers, and both last digits at once.
    begin_seconds = digits_seconds(n, first, last) + digits_seconds(n, first, 0)
    # Conversion to text is quadratic. The bounds have a digit more for each 5 numbers.
    squares = (first + count / 5) ** 2 + last * last
    return begin_seconds + count * (
        LISTED_NUMBER_SECONDS
        + squares * LISTED_SECONDS_PER_SQUARED_DIGIT
        + n.bit_length() ** 2 * LISTED_SECONDS_PER_SQUARED_INDEX_BIT
    )


def zeckendorf_seconds(value: int) -> float:
    """Return the time for all indices of a Zeckendorf sum.

    Args:
        value: The sum, >= 0.
    """
    max_index = 1.45 * value.bit_length()
    return SINGLE_NUMBER_SECONDS + max_index * ZECKENDORF_SECONDS_PER_INDEX


def _doubling_seconds(index_bits: int, modulus_bits: int) -> float:
    # The first numbers are smaller than the modulus.
    steps = max(index_bits - modulus_bits.bit_length(), 0)
    if modulus_bits <= SMALL_MODULUS_BITS:
        return SINGLE_NUMBER_SECONDS + steps * SMALL_MODULAR_STEP_SECONDS
    limbs = modulus_bits / BITS_PER_LIMB
    step_seconds = (
        MODULAR_STEP_SECONDS
        + limbs * MODULAR_SECONDS_PER_LIMB
        + limbs * limbs * MODULAR_SECONDS_PER_SQUARED_LIMB
    )
    return SINGLE_NUMBER_SECONDS + steps * step_seconds
