"""Tests for the strict parsing of URL parameters."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibcommon.bounds import INDEX, OutOfBounds
from fibweb.http.parameters import (
    MAX_COMPARED_NAMES,
    MissingParameter,
    NotANumber,
    UnknownParameter,
    parse_index,
    parse_number,
    parse_query,
)

KNOWN = frozenset({"start", "count"})


@given(st.integers(0, 10**19 - 1))
def test_every_number_has_one_spelling(n: int) -> None:
    """A plain decimal number is parsed."""
    assert parse_index("n", str(n)) == n
    for spelling in (f"0{n}", f"+{n}", f"-{n}", f" {n}", f"{n} ", f"{n}\n", f"{n}.0", f"{n}_0"):
        with pytest.raises(ValueError, match=f"^n is {re.escape(repr(spelling))}: (give a|omit)"):
            parse_index("n", spelling)


@pytest.mark.parametrize(
    "text", ["ten", "1e3", "0x10", "1,000", "٣", "３", "²", "½", "%31", "NaN", "--1"]
)
def test_no_number(text: str) -> None:
    """The error for an invalid number quotes it."""
    message = f"count is {text!r}: give a whole number from 0 on, in digits only"
    with pytest.raises(NotANumber, match=f"^{re.escape(message)}$"):
        parse_index("count", text)


def test_empty_number() -> None:
    """The error for an empty number names no digits."""
    with pytest.raises(NotANumber, match=r"^count is empty: give a whole number from 0 on$"):
        parse_index("count", "")


def test_leading_zeros() -> None:
    """The error for leading zeros names them."""
    with pytest.raises(NotANumber, match=r"^n is '007': omit the leading zeros$"):
        parse_index("n", "007")


def test_long_texts_are_cut() -> None:
    """The error for a long text quotes only its beginning."""
    with pytest.raises(NotANumber) as caught:
        parse_index("n", "x" * 10_000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("query", "message", "example"),
    [
        ("", "count is missing: give how many numbers", ""),
        ("start=5", "count is missing: give how many numbers", ""),
        ("n=10", "count is missing, and n is not a parameter here: give count, or", "/fib/10"),
        ("start=5&n=10&n=11", "count is missing, and n is not", "/fib/10"),
        ("n", "count is missing, and n is not", ""),
        ("n=1e3", "count is missing, and n is not", ""),
        (f"n={'9' * 20}", "count is missing, and n is not", ""),
    ],
)
def test_missing_parameter(query: str, message: str, example: str) -> None:
    """The error for a missing parameter notices a number that belongs into a path."""
    error = MissingParameter("count", "how many numbers", "n", "/fib").explained(query)
    assert str(error).startswith(message)
    assert error.example == example


@pytest.mark.parametrize("digits", [20, 1000, 1_000_000])
def test_too_long(digits: int) -> None:
    """The error for a number beyond all limits has its length instead of the number."""
    with pytest.raises(ValueError, match=f"^n has {digits} digits, beyond any limit$"):
        parse_index("n", "9" * digits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("&&", {}),
        ("start=5&count=3", {"start": "5", "count": "3"}),
        ("count=3&start=5", {"start": "5", "count": "3"}),
        ("count", {"count": ""}),
        ("count=", {"count": ""}),
        ("count=a=b", {"count": "a=b"}),
        ("count=%33", {"count": "%33"}),
        ("count=3&x=1&x=2&COUNT=4", {"count": "3"}),
    ],
)
def test_query(text: str, expected: dict[str, str]) -> None:
    """Known parameters are returned unchanged; others are ignored, even if repeated."""
    assert parse_query(text, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("strat=5&count=3", "start"),
        ("count=3&cuont=4", "count"),
        ("counts", "count"),
        ("_=1&star=5", "start"),
    ],
)
def test_misspelled(text: str, suggestion: str) -> None:
    """A near miss of a known parameter is an error that names both."""
    with pytest.raises(UnknownParameter) as caught:
        parse_query(text, KNOWN)
    assert caught.value.suggestion == suggestion
    assert caught.value.name in text
    assert repr(caught.value.name) in str(caught.value)
    assert suggestion in str(caught.value)


def test_few_unknown_names_are_compared() -> None:
    """What a query costs is bounded: long names and those after many others are not compared."""
    others = "".join(f"x{number}&" for number in range(MAX_COMPARED_NAMES))
    assert parse_query(f"{others}strat=5&{'start' * 1000}", KNOWN) == {}


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("7", 7), ("10", 10), ("9" * 1000, 10**1000 - 1)]
)
def test_numbers(text: str, value: int) -> None:
    """A number within its bounds may have many digits."""
    assert parse_number("n", text, INDEX) == value


@pytest.mark.parametrize("digits", [1001, 4300, 4301, 1_000_000])
def test_number_out_of_bounds(digits: int) -> None:
    """A number of any length that is out of bounds is an error that names the bounds."""
    with pytest.raises(OutOfBounds, match=r"n must be at least 0 and below 10\^1000") as caught:
        parse_number("n", "9" * digits, INDEX)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("text", ["", "-1", "01", "+1", "1e3", "٣", "1_0"])
def test_invalid_number(text: str) -> None:
    """Each number has one spelling."""
    with pytest.raises(NotANumber, match=r"^n is "):
        parse_number("n", text, INDEX)


@pytest.mark.parametrize(
    "text", ["count=3&count=3", "count&x=1&count=", "start=1&count=2&start=1"]
)
def test_repeated(text: str) -> None:
    """A repeated known parameter is an error, even with the same value."""
    with pytest.raises(ValueError, match="is given more than once"):
        parse_query(text, KNOWN)


@pytest.mark.parametrize(("name", "meant"), [("mdo", "mod"), ("omd", "mod"), ("fist", "first")])
def test_short_misspelled_name(name: str, meant: str) -> None:
    """Letters of a short name that are swapped or missing are recognized too."""
    with pytest.raises(UnknownParameter) as caught:
        parse_query(f"{name}=7", frozenset({"mod", "first", "count"}))
    assert caught.value.suggestion == meant
