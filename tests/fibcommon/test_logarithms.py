"""Logarithms and powers in fixed point, compared with those of `decimal`."""

from decimal import Context, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.logarithms import growth_line, power_of_ten

EXACT = Context(prec=700)


@pytest.mark.parametrize("base", [10, 256])
@pytest.mark.parametrize("bits", [1, 256, 257, 1000, 2000])
def test_lines(base: int, bits: int) -> None:
    """Slope and shift are off by less than 2, at least at the precision that was asked for."""
    line = growth_line(base, bits)
    assert line.scale_bits >= bits
    root_five = EXACT.sqrt(Decimal(5))
    log_base = EXACT.ln(Decimal(base))
    for scaled, argument in (
        (line.slope, EXACT.divide(EXACT.add(root_five, 1), 2)),
        (line.shift, root_five),
    ):
        logarithm = EXACT.divide(EXACT.ln(argument), log_base)
        error = EXACT.subtract(scaled, EXACT.multiply(logarithm, 1 << line.scale_bits))
        assert abs(error) < 2


def test_a_finer_line_agrees_with_a_coarser_one() -> None:
    """Each line consists of the first bits of the next, so all are as right as the first ones."""
    lines = [growth_line(10, 256 << step) for step in range(7)]
    finest = lines[-1]
    for line in lines:
        dropped = finest.scale_bits - line.scale_bits
        assert abs((finest.slope >> dropped) - line.slope) <= 1
        assert abs((finest.shift >> dropped) - line.shift) <= 1


@settings(deadline=None)
@given(bits=st.integers(1, 1500), data=st.data())
def test_powers_of_ten(bits: int, data: st.DataObject) -> None:
    """The power is off by less than 2 units, for exponents next to 0 and 1 too."""
    one = 1 << bits
    near = st.integers(0, min(20, one - 1))
    exponent = data.draw(st.integers(0, one - 1) | near | near.map(lambda k: one - 1 - k))
    exact = EXACT.power(Decimal(10), EXACT.divide(Decimal(exponent), Decimal(one)))
    error = EXACT.subtract(power_of_ten(exponent, bits), EXACT.multiply(exact, one))
    assert abs(error) < 2
