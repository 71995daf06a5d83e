"""Evaluation of expressions: what a worker calculates besides elements.

An expression is the name of a function and its arguments, separated by spaces: `mod 1000 97`.
"""

from collections.abc import Callable

from fibcommon.digits import digits
from fibcommon.modular import fibonacci_mod

__all__ = ["evaluate"]


def evaluate(expression: bytes) -> bytes:
    """Return the value of an expression.

    Args:
        expression: `mod n m` for F(n) mod m, or `digits n first last` for the number of digits of
            F(n), the first and the last ones, separated by spaces.
    """
    name, *arguments = expression.split()
    return _FUNCTIONS[name](*map(int, arguments))


def _mod(n: int, modulus: int) -> bytes:
    return b"%d" % fibonacci_mod(n, modulus)


def _digits(n: int, first: int, last: int) -> bytes:
    result = digits(n, first, last)
    return f"{result.digit_count} {result.first} {result.last}".encode("ascii")


_FUNCTIONS: dict[bytes, Callable[..., bytes]] = {b"mod": _mod, b"digits": _digits}
