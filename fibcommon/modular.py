"""Residues of Fibonacci numbers, for their own sake and to verify numbers.

The residue of F(n) is the sum of the two before it, or is computed by fast doubling, both without
F(n) itself. The residue of given digits is computed piece by piece. The two are equal if the
digits are right, and for about one in p of all wrong numbers.

A prime that is known in advance could hide a systematic error. With primes drawn at random, no
fixed error passes: a wrong number of two million digits differs from the right one by a number
with at most 1.2·10^5 prime factors of 18 digits, of some 2·10^15 in `random_prime`'s range, so
two primes miss it with a probability below 2^-68.

Decimal digits are parsed by `decimal`, whose remainder by one machine word is linear in the number
of digits; a conversion to `int` would be quadratic.
"""

import math
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import lru_cache
from random import Random

from fibcommon.bounds import INDEX, MODULUS

__all__ = [
    "PRIME",
    "append_bytes",
    "append_digits",
    "fibonacci_mod",
    "fibonacci_pair",
    "random_prime",
    "reduced_index",
    "residue",
]

PRIME = (1 << 61) - 1

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)

_RANGE = (9 * 10**17, 10**18)
"""Range of random primes: below 2^60, so that a remainder by one takes one machine word."""

_MAX_FACTORED_BITS = 512
"""Size of the largest modulus whose factors are searched for."""

_SMALL_PRIMES = [
    p for p in range(2, 500) if all(p % divisor for divisor in range(2, 23) if divisor < p)
]

_MAX_PRIME = 3 * 10**23

_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""The Miller-Rabin test with these bases is exact below 3·10^23 (J. Sorenson and J. Webster,
Strong pseudoprimes to twelve prime bases, Mathematics of Computation 86, 2017)."""


def fibonacci_mod(n: int, modulus: int) -> int:
    """Return F(n) mod m.

    `fibcommon.costs.modular_seconds` predicts the time, for the index from `reduced_index`.

    Args:
        n: Index, 0 <= n < 10^1000.
        modulus: Modulus, 1 <= m < 10^1000.

    Raises:
        OutOfBounds: An argument is outside its range.
    """
    INDEX.check("n", n)
    MODULUS.check("m", modulus)
    return fibonacci_pair(reduced_index(n, modulus), modulus)[0]


def reduced_index(n: int, modulus: int) -> int:
    """Return a smaller index with the same F(n) mod m if one is found in less than 0.2 ms, or n.

    F(n) mod m is periodic. The period of a prime power p^e divides p^(e-1) times that of p, which
    divides p-1 if p is 1 or -1 modulo 5, 20 for 5, and 2(p+1) for other primes. The period of m is
    the least common multiple of those of its prime powers (D. D. Wall, Fibonacci series modulo m,
    American Mathematical Monthly 67, 1960). So a multiple of it is found if m has at most
    512 bits and at most one prime factor that is not small (nor very large). The index then has
    hardly more digits than m.

    Args:
        n: Index, >= 0.
        modulus: Modulus, >= 1.
    """
    bits = modulus.bit_length()
    if bits > _MAX_FACTORED_BITS or n.bit_length() <= bits + 2:
        return n
    period, rest = 1, modulus
    for prime in _SMALL_PRIMES:
        if rest % prime == 0:
            period_of_power = _prime_period(prime)
            while (rest := rest // prime) % prime == 0:
                period_of_power *= prime
            period = math.lcm(period, period_of_power)
    if rest > 1:
        if rest >= _MAX_PRIME or not _is_prime(rest):
            return n
        period = math.lcm(period, _prime_period(rest))
    return n % period


def _prime_period(prime: int) -> int:
    """Return a multiple of the period of F(n) modulo a prime."""
    if prime == 5:
        return 20
    return prime - 1 if prime % 5 in (1, 4) else 2 * (prime + 1)


def fibonacci_pair(n: int, modulus: int = PRIME) -> tuple[int, int]:
    """Return the residues of F(n) and F(n+1), by fast doubling.

    A step takes two squarings instead of the usual three multiplications (T. Granlund and others,
    The GNU Multiple Precision Arithmetic Library, Fibonacci Numbers Algorithm). That is faster for
    moduli of 40 digits or more, and as fast for smaller ones.

    Args:
        n: Index, >= 0.
        modulus: Modulus, >= 1.
    """
    before, this = 1, 0  # F(k-1) and F(k)
    sign = 2  # 2·(-1)^k
    for bit in f"{n:b}":
        before_square, square = before * before, this * this
        lower = before_square + square  # F(2k-1)
        upper = 4 * square - before_square + sign  # F(2k+1)
        if bit == "1":
            before, this = (upper - lower) % modulus, upper % modulus
            sign = -2
        else:
            before, this = lower % modulus, (upper - lower) % modulus
            sign = 2
    return this % modulus, (before + this) % modulus


def append_digits(residue: int, digits: bytes, prime: int = PRIME) -> int:
    """Return the residue of a number after appending decimal digits.

    Args:
        residue: Residue of the digits before, 0 if there are none.
        digits: Digits to append, at least one.
        prime: Modulus, below 2^64.
    """
    piece = _decimal_residue(_EXACT.create_decimal(digits.decode("ascii")), prime)
    return (residue * pow(10, len(digits), prime) + piece) % prime


def append_bytes(residue: int, position: int, magnitude: bytes, prime: int = PRIME) -> int:
    """Return the residue of a little-endian number after appending bytes.

    Args:
        residue: Residue of the bytes before, 0 if there are none.
        position: Number of bytes before.
        magnitude: Bytes to append, little-endian.
        prime: Modulus.
    """
    piece = int.from_bytes(magnitude, "little") % prime
    return (residue + piece * pow(256, position, prime)) % prime


def residue(value: int | Decimal, prime: int) -> int:
    """Return the residue of a number.

    Args:
        value: The number, >= 0; a `Decimal` must be an integer.
        prime: Modulus, below 2^64.
    """
    return value % prime if isinstance(value, int) else _decimal_residue(value, prime)


def random_prime(source: Random) -> int:
    """Return a prime of 18 digits.

    Args:
        source: Source of randomness.
    """
    while True:
        candidate = source.randrange(*_RANGE) | 1
        if _is_prime(candidate):
            return candidate


def _decimal_residue(value: Decimal, prime: int) -> int:
    return int(_EXACT.remainder(value, _as_decimal(prime)))


@lru_cache(maxsize=8)
def _as_decimal(prime: int) -> Decimal:
    return Decimal(prime)


def _is_prime(candidate: int) -> bool:
    """Return whether an odd number above 37 and below `_MAX_PRIME` is prime."""
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in _WITNESSES:
        power = pow(witness, odd, candidate)
        if power in (1, candidate - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % candidate
            if power == candidate - 1:
                break
        else:
            return False
    return True
