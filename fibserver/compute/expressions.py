"""Evaluation of expressions: what a worker calculates besides elements.

An expression is the name of a function and its arguments, separated by spaces: `mod 1000 97`.
"""

from collections.abc import Callable

from fibcommon.digits import Digits, digits, listed_digits
from fibcommon.modular import fibonacci_mod

__all__ = ["evaluate"]


def evaluate(expression: bytes) -> bytes:
    """Return the value of an expression.

    Args:
        expression: `mod n m` for F(n) mod m, or `digits n first last` for the number of digits of
            F(n), the first and the last ones, separated by spaces; or `list n count first last`
            for the same of consecutive numbers, in a line for each.
    """
    name, *arguments = expression.split()
    return _FUNCTIONS[name](*map(int, arguments))


def _mod(n: int, modulus: int) -> bytes:
    return b"%d" % fibonacci_mod(n, modulus)


def _digits(n: int, first: int, last: int) -> bytes:
    return _line(digits(n, first, last))


def _list(n: int, count: int, first: int, last: int) -> bytes:
    return b"\n".join(map(_line, listed_digits(n, count, first, last)))


def _line(result: Digits) -> bytes:
    return f"{result.digit_count} {result.first} {result.last}".encode("ascii")


_FUNCTIONS: dict[bytes, Callable[..., bytes]] = {
    b"mod": _mod,
    b"digits": _digits,
    b"list": _list,
}
