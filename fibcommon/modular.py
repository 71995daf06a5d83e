"""Residues modulo the prime 2^61-1, to verify numbers.

The residue of F(n) is the sum of the two before it, or is computed by fast doubling, both without
F(n) itself. The residue of received digits is computed piece by piece. The two are equal if the
digits are right, and for about one in 2^61 wrong numbers.

Decimal digits are parsed by `decimal`, whose remainder by one machine word is linear in the number
of digits; a conversion to `int` would be quadratic.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

__all__ = ["PRIME", "append_bytes", "append_digits", "fibonacci_pair"]

PRIME = (1 << 61) - 1

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_DECIMAL_PRIME = Decimal(PRIME)


def fibonacci_pair(n: int) -> tuple[int, int]:
    """Return the residues of F(n) and F(n+1), by fast doubling.

    Args:
        n: Index, >= 0.
    """
    this, following = 0, 1
    for bit in f"{n:b}":
        # F(2k) = F(k)·(2·F(k+1) - F(k)) and F(2k+1) = F(k)² + F(k+1)².
        this, following = (
            this * (2 * following - this) % PRIME,
            (this * this + following * following) % PRIME,
        )
        if bit == "1":
            this, following = following, (this + following) % PRIME
    return this, following


def append_digits(residue: int, digits: bytes) -> int:
    """Return the residue of a number after appending decimal digits.

    Args:
        residue: Residue of the digits before, 0 if there are none.
        digits: Digits to append, at least one.
    """
    piece = _EXACT.remainder(_EXACT.create_decimal(digits.decode("ascii")), _DECIMAL_PRIME)
    return (residue * pow(10, len(digits), PRIME) + int(piece)) % PRIME


def append_bytes(residue: int, position: int, magnitude: bytes) -> int:
    """Return the residue of a little-endian number after appending bytes.

    Args:
        residue: Residue of the bytes before, 0 if there are none.
        position: Number of bytes before.
        magnitude: Bytes to append, little-endian.
    """
    piece = int.from_bytes(magnitude, "little") % PRIME
    return (residue + piece * pow(256, position, PRIME)) % PRIME
