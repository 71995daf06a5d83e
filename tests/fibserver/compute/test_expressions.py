"""Expressions: their values are those of the functions that they name."""

from hypothesis import given
from hypothesis import strategies as st

from fibcommon.digits import digits
from fibcommon.modular import fibonacci_mod
from fibserver.compute.expressions import evaluate


@given(st.integers(0, 10**60), st.integers(1, 10**60))
def test_remainder(n: int, modulus: int) -> None:
    """`mod n m` is F(n) mod m."""
    assert evaluate(b"mod %d %d" % (n, modulus)) == b"%d" % fibonacci_mod(n, modulus)


@given(st.integers(0, 10**60), st.integers(0, 60), st.integers(0, 60))
def test_digits(n: int, first: int, last: int) -> None:
    """`digits n first last` is the number of digits and some of them, which may be none."""
    count, first_digits, last_digits = evaluate(b"digits %d %d %d" % (n, first, last)).split(b" ")
    expected = digits(n, first, last)
    assert int(count) == expected.digit_count
    assert (first_digits.decode(), last_digits.decode()) == (expected.first, expected.last)
