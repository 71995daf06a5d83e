"""Ranges of arguments, and the messages of numbers outside."""

import pytest

from fibcommon.bounds import DIGIT_COUNT, INDEX, MODULUS, VALUE, Bounds, OutOfBounds


@pytest.mark.parametrize(
    "bounds", [DIGIT_COUNT, INDEX, MODULUS, VALUE], ids=["count", "index", "modulus", "value"]
)
def test_ends(bounds: Bounds) -> None:
    """Both ends of a range are accepted, and the numbers next to them are not."""
    bounds.check("n", bounds.minimum)
    bounds.check("n", bounds.maximum)
    for value in (bounds.minimum - 1, bounds.maximum + 1):
        with pytest.raises(OutOfBounds) as caught:
            bounds.check("n", value)
        assert (caught.value.name, caught.value.bounds) == ("n", bounds)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1"),
        (10**1000, "10000000000000000000... of 1001 digits"),
        (-(10**50), "-10000000000000000000... of 51 digits"),
        (10**1_000_000, "a number of more than 4200 digits"),
    ],
    ids=["negative", "long", "long and negative", "too long to convert"],
)
def test_messages(value: int, shown: str) -> None:
    """A message has the name, the bound and the number, of a long one only the beginning."""
    with pytest.raises(ValueError, match="below 10") as caught:
        INDEX.check("n", value)
    assert str(caught.value) == f"n must be at least 0 and below 10^1000, not {shown}"
