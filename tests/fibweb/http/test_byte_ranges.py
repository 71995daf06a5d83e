"""Tests for the Range header (RFC 9110)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibweb.http.byte_ranges import parse

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=100-", (100, 1000)),
        ("bytes=999-", (999, 1000)),
        ("bytes=0-", (0, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-1000", (0, 1000)),
        # beyond the end
        ("bytes=990-5000", (990, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=5-" + "9" * 5000, (5, 1000)),
        ("bytes=-" + "9" * 5000, (0, 1000)),
        # spellings
        ("Bytes=0-9", (0, 10)),
        ("bytes= 0-9 ", (0, 10)),
        ("bytes=0-9,", (0, 10)),
        ("bytes=, ,0-9", (0, 10)),
        ("bytes=0" + "0" * 50 + "5-9", (5, 10)),
        # unsatisfiable
        ("bytes=1000-", (1000, 1000)),
        ("bytes=1000-1001", (1000, 1000)),
        ("bytes=" + "9" * 5000 + "-", (1000, 1000)),
        ("bytes=-0", (1000, 1000)),
        # invalid headers, other units and several ranges are ignored
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5", None),
        ("bytes=5-4", None),
        ("bytes=2000-1999", None),
        ("bytes=a-b", None),
        ("bytes=0-9-", None),
        ("bytes=--5", None),
        ("bytes=+0-9", None),
        ("bytes=0 - 9", None),
        ("bytes=0x0-9", None),
        ("bytes=\u0663-", None),
        ("bytes:0-9", None),
        ("items=0-9", None),
        ("bytes=0-0,5-9", None),
        ("bytes=0-0, -1", None),
        ("bytes=0-0, x", None),
    ],
)
def test_parse(header: str, expected: tuple[int, int] | None) -> None:
    """Each header selects the bytes that the RFC defines."""
    assert parse(header, SIZE) == expected


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-9", "bytes=-1", "bytes=-0", "bytes=7-"])
def test_an_empty_answer(header: str) -> None:
    """Range is ignored for an empty response."""
    assert parse(header, 0) is None


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 30))
def test_first_and_last(first: int, last: int, size: int) -> None:
    """A range with both ends selects the same bytes as a Python slice."""
    found = parse(f"bytes={first}-{last}", size)
    if first > last:
        assert found is None
    else:
        assert found is not None
        assert range(size)[slice(*found)] == range(size)[first : last + 1]


@given(st.text(alphabet="bytes=0123456789-, \t", max_size=40), st.integers(0, 2000))
def test_any_range_header(header: str, size: int) -> None:
    """Any header selects existing bytes, an empty range, or is ignored."""
    found = parse(header, size)
    assert found is None or 0 <= found.begin <= found.end <= size
