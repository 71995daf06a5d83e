"""Expressions: their values are those of the functions that they name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibcommon.bounds import INDEX
from fibcommon.digits import digits, list_count
from fibcommon.modular import fibonacci_mod
from fibserver.compute.expressions import evaluate
from fibserver.workers.worker import MAX_REPORT_BYTES, Outcome, Report, encode_report


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


@given(st.integers(0, 10**60), st.integers(0, 9), st.integers(0, 60), st.integers(0, 60))
def test_list(n: int, count: int, first: int, last: int) -> None:
    """`list n count first last` has a line for each number."""
    lines = evaluate(b"list %d %d %d %d" % (n, count, first, last)).splitlines()
    assert lines == [
        evaluate(b"digits %d %d %d" % (index, first, last)) for index in range(n, n + count)
    ]


@pytest.mark.parametrize("start", [0, 10**7, INDEX.maximum - 1000], ids=range(3))
@pytest.mark.parametrize("shown", [0, 20, 45, 1000])
def test_longest_list_fits_a_report(start: int, shown: int) -> None:
    """A worker can report the longest list that is allowed."""
    count = list_count(start, shown, shown).maximum
    value = evaluate(b"list %d %d %d %d" % (start, count, shown, shown))
    assert len(value.splitlines()) == count
    assert len(encode_report(Report(Outcome.DONE, value=value))) < MAX_REPORT_BYTES
