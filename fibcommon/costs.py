"""Predicted cost of a slice: how long one worker computes it, in closed form.

The prediction orders work, the cheapest first, and bounds queues in seconds. It need not be exact:
queues scale it by the measured duration of recent work.

Two things cost time. The first element of a run is obtained by fast doubling, whose last
multiplications dominate: nearly linear in n for `decimal`, which multiplies by a number-theoretic
transform, and about n^1.65 for `int`, which `binary` needs, by Karatsuba's method. Every element
after that is an addition and a conversion, linear in the bytes written. The factors were measured
with `fibserver.compute.rendering` on one core of 2024 (F(10,000,000) as text: 0.43 s).
"""

import math

from fibcommon.formats import Format

__all__ = ["DEAR_SECONDS", "first_element_seconds", "predicted_seconds", "slice_seconds"]

DEAR_SECONDS = 0.02
"""What costs more is dear: it never takes the last worker or thread from cheap work."""

FIXED_SECONDS = 1e-4
DECIMAL_SECONDS_PER_INDEX = 4.2e-8
INT_SECONDS_AT_REFERENCE = 0.0107
INT_REFERENCE_INDEX = 300_000
INT_EXPONENT = 1.65
SECONDS_PER_BYTE = 3e-9

MAX_PREDICTED_INDEX = 10**15
"""Beyond any max_index; keeps the arithmetic within floats."""


def predicted_seconds(format: Format, start: int, stop: int) -> float:
    """Return how long a worker needs for F(start) to F(stop-1), starting from nothing.

    Args:
        format: the encoding.
        start: >= 0.
        stop: >= start.
    """
    return slice_seconds(format, start, format.offset(stop) - format.offset(start))


def slice_seconds(format: Format, start: int, size_bytes: int) -> float:
    """Return what `predicted_seconds` does, for a slice whose size is known.

    Args:
        format: the encoding.
        start: the first element, >= 0.
        size_bytes: of the slice.
    """
    return first_element_seconds(format, start) + size_bytes * SECONDS_PER_BYTE


def first_element_seconds(format: Format, n: int) -> float:
    """Return how long a worker needs to obtain F(n) by doubling.

    Args:
        format: the encoding, which decides the arithmetic.
        n: >= 0, of any size.
    """
    n = min(n, MAX_PREDICTED_INDEX)
    if format.name == "binary":
        scale = math.pow(n / INT_REFERENCE_INDEX, INT_EXPONENT)
        return FIXED_SECONDS + INT_SECONDS_AT_REFERENCE * scale
    return FIXED_SECONDS + DECIMAL_SECONDS_PER_INDEX * n
