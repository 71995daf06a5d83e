"""Logarithms of the golden ratio in fixed point, to any precision, and powers of ten from them.

F(n) is φ^n/√5 rounded to the nearest integer, for n >= 0. So the logarithm of F(n) is close to the
line n·log φ - log √5, which gives the number of digits of F(n) (`fibcommon.sizes`) and its first
digits (`fibcommon.digits`).

Numbers are integers scaled by a power of two. All series have small integers as divisors, so a
term takes linear time. `decimal`, whose logarithm is slower at these precisions (3,000 digits: 0.5
s), is not needed. Results are kept for a few precisions, each twice the one before.
"""

from functools import cache
from math import isqrt
from typing import NamedTuple

__all__ = ["MIN_SCALE_BITS", "GrowthLine", "growth_line", "power_of_ten"]

MIN_SCALE_BITS = 256
"""Smallest scale of a line. The larger ones are this one doubled, several times."""

_GUARD_BITS = 64


class GrowthLine(NamedTuple):
    """The line n·slope - shift, the logarithm of φ^n/√5 in some base.

    Attributes:
        slope: log φ, scaled; off by less than 2.
        shift: log √5, scaled; off by less than 2.
        scale_bits: Binary logarithm of the scale.
    """

    slope: int
    shift: int
    scale_bits: int

    def scaled(self, n: int) -> int:
        """Return the scaled logarithm of φ^n/√5, off by less than `error(n)`."""
        return n * self.slope - self.shift

    def error(self, n: int) -> int:
        """Return a bound on the error of `scaled(n)`."""
        return 2 * n + 2


def growth_line(base: int, min_bits: int) -> GrowthLine:
    """Return the line for `base` with at least `min_bits` bits after the binary point.

    Args:
        base: 10 or 256.
        min_bits: Required precision. The time for the first line of a precision grows with its
            square (8,192 bits: 12 ms); later ones are kept.
    """
    return _growth_line(base, _scale_bits(min_bits))


def _scale_bits(min_bits: int) -> int:
    scale_bits = MIN_SCALE_BITS
    while scale_bits < min_bits:
        scale_bits *= 2
    return scale_bits


@cache
def _growth_line(base: int, scale_bits: int) -> GrowthLine:
    logarithms = _natural_logarithms(scale_bits)
    log_base = {10: logarithms.two + logarithms.five, 256: 8 * logarithms.two}[base]
    return GrowthLine(
        (logarithms.golden_ratio << scale_bits) // log_base,
        (logarithms.five << scale_bits) // (2 * log_base),
        scale_bits,
    )


class _NaturalLogarithms(NamedTuple):
    two: int
    five: int
    golden_ratio: int


@cache
def _natural_logarithms(scale_bits: int) -> _NaturalLogarithms:
    """Return natural logarithms, scaled by 2^(scale_bits + _GUARD_BITS).

    They are off by less than 2^32: each series has fewer terms than bits, is rounded down twice
    for a term, and is multiplied by 32 at most.
    """
    one = 1 << (scale_bits + _GUARD_BITS)
    # 2·artanh(1/q) is ln((q+1)/(q-1)). The sums follow from 2 = (16/15)^7·(25/24)^5·(81/80)^3 and
    # 5 = (16/15)^16·(25/24)^12·(81/80)^7.
    by_31, by_49, by_161 = (_inverse_tangent(one // q, q * q) for q in (31, 49, 161))
    return _NaturalLogarithms(
        two=14 * by_31 + 10 * by_49 + 6 * by_161,
        five=32 * by_31 + 24 * by_49 + 14 * by_161,
        # φ² = (√5 + 1)/(√5 - 1), so ln φ = artanh(1/√5).
        golden_ratio=_inverse_tangent(isqrt(one * one // 5), 5),
    )


def _inverse_tangent(x: int, inverse_square: int) -> int:
    """Return artanh(x) = x + x³/3 + x⁵/5 + …, scaled as x.

    Args:
        x: Scaled argument.
        inverse_square: 1/x², an integer.
    """
    total, divisor = 0, 1
    while x:
        total += x // divisor
        x //= inverse_square
        divisor += 2
    return total


def power_of_ten(exponent: int, scale_bits: int) -> int:
    """Return 10^x in fixed point.

    Args:
        exponent: x, scaled, 0 <= x < 1.
        scale_bits: Binary logarithm of the scale of exponent and result.

    Returns:
        The scaled power, off by less than 2.
    """
    # e^y with y halved r times, by its power series, and squared r times. Each squaring doubles
    # the error, relative to the result, which 2r of the additional bits make up for.
    halvings = isqrt(scale_bits) + 2
    bits = scale_bits + 2 * halvings + _GUARD_BITS
    log_scale_bits = _scale_bits(bits)
    logarithms = _natural_logarithms(log_scale_bits)
    log_ten = (logarithms.two + logarithms.five) >> (log_scale_bits + _GUARD_BITS - bits)
    y = (exponent * log_ten) >> (scale_bits + halvings)
    total = term = 1 << bits
    divisor = 1
    while term:
        term = (term * y >> bits) // divisor
        total += term
        divisor += 1
    for _ in range(halvings):
        total = total * total >> bits
    return total >> (bits - scale_bits)
