"""Cost model: predicted time for one worker to compute a slice.

Queues run the cheapest work first and bound the waiting time. The prediction need not be exact:
they scale it by the measured duration of recent work.

There are two costs. The first element of a slice is computed by fast doubling, where the last
multiplications dominate: nearly linear in n for `decimal`, which multiplies by a number-theoretic
transform, and about n^1.65 for `int`, which the format `binary` needs, by Karatsuba's method. Each
further element is an addition and a conversion, linear in the bytes written. The factors were
measured with `fibserver.compute.rendering` on one core of 2024 (F(10,000,000) as text: 0.43 s).
"""

import math

from fibcommon.formats import Format

__all__ = ["EXPENSIVE_SECONDS", "first_element_seconds", "predicted_seconds", "slice_seconds"]

EXPENSIVE_SECONDS = 0.02
"""Work that costs more is expensive: it leaves one worker or thread free, if there are several."""

FIXED_SECONDS = 1e-4
DECIMAL_SECONDS_PER_INDEX = 4.2e-8
INT_SECONDS_AT_REFERENCE = 0.0107
INT_REFERENCE_INDEX = 300_000
INT_EXPONENT = 1.65
SECONDS_PER_BYTE = 3e-9

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
    n = min(n, MAX_PREDICTED_INDEX)
    if format.name == "binary":
        scale = math.pow(n / INT_REFERENCE_INDEX, INT_EXPONENT)
        return FIXED_SECONDS + INT_SECONDS_AT_REFERENCE * scale
    return FIXED_SECONDS + DECIMAL_SECONDS_PER_INDEX * n
