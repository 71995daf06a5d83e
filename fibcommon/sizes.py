"""Exact sizes of numbers and indices, and sums of these sizes, in closed form.

No number is computed for them. `fibcommon.formats` composes them into the sizes of encoded
elements.

For n >= 2, F(n) is φ^n/√5 rounded to the nearest integer, so it has
floor(n·log_b φ - log_b √5) + 1 digits in base b (n < 2 is special: φ/√5 < 1). Both
logarithms are irrational and are approximated by integers scaled by a power of two
(`fibcommon.logarithms`), so a floor is one multiplication and one shift. With a scale of 2^256 the
floor would be wrong only where n·log_b φ - log_b √5 comes within n·2^-255 of an integer; for any n
of up to 64 bits it stays farther away. For larger n both bounds of the logarithm are compared, and
the scale grows until they have the same floor. The sum of floors over a range is computed by a
Euclid-like reduction (`floor_sum`), which takes O(log n) steps. No floats are used.

For each size there are two functions: the size of n, and the sum of the sizes of all k with
0 <= k < n (`..._before`).
"""

from functools import cache, lru_cache

from fibcommon.logarithms import MIN_SCALE_BITS, GrowthLine, growth_line

__all__ = [
    "first_index_with_digits",
    "floor_sum",
    "index_digits",
    "index_digits_before",
    "length_digits",
    "length_digits_before",
    "value_digits",
    "value_digits_before",
]

_SCALE = 1 << MIN_SCALE_BITS
_MAX_QUICK_BITS = 64
"""Size of the largest n for which the smallest scale suffices without a check."""


@cache
def _digit_line(base: int) -> GrowthLine:
    """Return the line of the smallest scale."""
    return growth_line(base, MIN_SCALE_BITS)


def floor_sum(count: int, slope: int, shift: int, modulus: int) -> int:
    """Return the sum of floor((slope·k + shift) / modulus) for 0 <= k < count.

    It counts lattice points under a line and, as in Euclid's algorithm, swaps the axes at
    each step (Graham, Knuth, Patashnik, Concrete Mathematics, section 3.5).

    Args:
        count: Number of terms, >= 0.
        slope: Factor of k, >= 0.
        shift: Any integer.
        modulus: Divisor, >= 1.
    """
    total = 0
    sign = 1
    while count > 0:
        whole, slope = divmod(slope, modulus)
        total += sign * whole * (count * (count - 1) // 2)
        whole, shift = divmod(shift, modulus)
        total += sign * whole * count
        height = (slope * (count - 1) + shift) // modulus
        if height == 0:
            break
        # Count the points to the right of the line and subtract them from the rectangle.
        total += sign * height * count
        sign = -sign
        count, slope, shift, modulus = height, modulus, modulus - shift + slope - 1, slope
    return total


def value_digits(n: int, base: int = 10) -> int:
    """Return the number of digits of F(n) in `base`.

    Zero has one digit, except in base 256, where it has none.

    Args:
        n: Index, >= 0.
        base: 10 or 256. (In base 2 the formula is one short for F(3) = 2 and F(6) = 8, which
            are powers of the base.)
    """
    if n < 2:
        return 0 if n == 0 and base == 256 else 1
    if n.bit_length() > _MAX_QUICK_BITS:
        return _checked_value_digits(n, base)
    growth = _digit_line(base)
    return ((n * growth.slope - growth.shift) >> MIN_SCALE_BITS) + 1


def _checked_value_digits(n: int, base: int) -> int:
    min_bits = n.bit_length() + _MAX_QUICK_BITS
    while True:
        growth = growth_line(base, min_bits)
        logarithm, error = growth.scaled(n), growth.error(n)
        floor = (logarithm - error) >> growth.scale_bits
        if floor == (logarithm + error) >> growth.scale_bits:
            return floor + 1
        min_bits = 2 * growth.scale_bits


# A request needs the same sums several times, 20 µs each; the next one may begin where it ends.
@lru_cache(maxsize=1024)
def value_digits_before(n: int, base: int = 10) -> int:
    """Return the sum of `value_digits(k, base)` for 0 <= k < n."""
    if n <= 2:
        return sum(value_digits(k, base) for k in range(n))
    growth = _digit_line(base)
    count = n - 2
    floors = floor_sum(count, growth.slope, 2 * growth.slope - growth.shift, _SCALE)
    return value_digits_before(2, base) + floors + count


def index_digits(n: int) -> int:
    """Return the number of decimal digits of the index n."""
    return len(str(n))


def index_digits_before(n: int) -> int:
    """Return the sum of `index_digits(k)` for 0 <= k < n."""
    # From each power of ten on, every index has one more digit.
    total = n
    power = 10
    while power < n:
        total += n - power
        power *= 10
    return total


def first_index_with_digits(digits: int) -> int:
    """Return the smallest n whose F(n) has at least `digits` decimal digits.

    From 10 on, F(n) has as many digits as the number before or one more, so the result has exactly
    that many.

    Args:
        digits: Number of digits, >= 1.
    """
    if digits == 1:
        return 0
    growth = growth_line(10, digits.bit_length() + _MAX_QUICK_BITS)
    n = -(-(((digits - 1) << growth.scale_bits) + growth.shift) // growth.slope)
    # The line is precise enough for n to be right or off by one.
    while value_digits(n) < digits:
        n += 1
    while value_digits(n - 1) >= digits:
        n -= 1
    return n


_first_index_of_length = cache(first_index_with_digits)
"""For the few lengths that are powers of ten."""


def length_digits(n: int) -> int:
    """Return the number of decimal digits of `value_digits(n)`."""
    return len(str(value_digits(n)))


def length_digits_before(n: int) -> int:
    """Return the sum of `length_digits(k)` for 0 <= k < n."""
    total = n
    power = 10
    while (first := _first_index_of_length(power)) < n:
        total += n - first
        power *= 10
    return total
