"""Tests for If-None-Match, If-Match and If-Range (RFC 9110)."""

import pytest

from fibweb.http.entity_tags import contains_tag, if_range_matches, is_any

TAG = '"first-10-json-1"'


@pytest.mark.parametrize(
    ("header", "weakly", "strongly"),
    [
        (TAG, True, True),
        (f"W/{TAG}", True, False),
        (f'"x", {TAG}', True, True),
        (f'"x",{TAG},"y"', True, True),
        (f'W/"x", W/{TAG}', True, False),
        (f"W/{TAG}, {TAG}", True, True),
        (f' \t{TAG} , "y"', True, True),
        ("", False, False),
        ("*", False, False),
        ('"x"', False, False),
        ('"first-10-text-1"', False, False),
        (TAG.strip('"'), False, False),
        (TAG.upper(), False, False),
        ('"first-10', False, False),
        ('"' * 1000, False, False),
    ],
)
def test_lists(header: str, weakly: bool, strongly: bool) -> None:
    """A list contains a tag as a whole; a weak one matches only weakly."""
    assert contains_tag(header, TAG, weakly=True) is weakly
    assert contains_tag(header, TAG, weakly=False) is strongly


@pytest.mark.parametrize(
    ("header", "expected"),
    [("*", True), (" * ", True), ("", False), ('"*"', False), ("**", False)],
)
def test_is_any(header: str, expected: bool) -> None:
    """Only a single star matches any tag."""
    assert is_any(header) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, True),
        (TAG, True),
        (f" {TAG} ", True),
        (f"W/{TAG}", False),
        ('"x"', False),
        ("", False),
        (f'{TAG}, "x"', False),
        ("Wed, 21 Oct 2015 07:28:00 GMT", False),
    ],
)
def test_if_range_matches(header: str | None, expected: bool) -> None:
    """A partial response requires the same strong tag, or no If-Range."""
    assert if_range_matches(header, TAG) is expected
