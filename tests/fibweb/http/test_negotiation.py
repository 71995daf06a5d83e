"""Accept, as RFC 9110 has it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fibweb.http.negotiation import choose

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
CSV = "text/csv; charset=utf-8; header=absent"
BINARY = "application/octet-stream"
OFFERS = (JSON, TEXT, CSV, BINARY)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", JSON),
        ("text/plain", TEXT),
        ("TEXT/Plain", TEXT),
        ("*/*", JSON),
        ("text/*", TEXT),
        ("application/*", JSON),
        ("image/png", None),
        ("image/*, audio/*;q=0.5", None),
        # the highest q
        ("text/plain;q=0.5, text/csv;q=0.9", CSV),
        ("text/plain; q=0.5 , text/csv ; q = 0.4", TEXT),
        ("text/csv;q=0.001", CSV),
        ("application/json;q=0.9, */*;q=0.8", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        # q=0 forbids, and the most specific range is the one that counts
        ("application/json;q=0, */*", TEXT),
        ("*/*, application/json;q=0", TEXT),
        ("application/*;q=0, */*;q=0.1", TEXT),
        ("text/*;q=0.9, text/plain;q=0.1", CSV),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        # among equals the most specific, then the first offered
        ("*/*, text/csv", CSV),
        ("text/*, application/octet-stream", BINARY),
        ("text/csv, application/json", JSON),
        # parameters: any charset is right, others must be there
        ("text/plain; charset=iso-8859-1", TEXT),
        ('text/csv; header="absent"', CSV),
        ("text/csv; header=present", None),
        ("application/json; profile=x", None),
        ("text/csv;q=0.1, text/csv;header=absent;q=0.2, text/plain;q=0.15", CSV),
        # what follows q is no parameter of the media type (RFC 7231 had such)
        ("text/csv;q=0.5;header=present", CSV),
        # quoted strings
        ('image/png;x="a,text/csv", text/plain', TEXT),
        ('image/png;x="a;q=0\\", text/csv', None),
        ('image/png;x="\\",text/csv;q=1", text/plain;q=0.1', TEXT),
        # elements that make no sense are ignored
        (", ,text/csv,,", CSV),
        ("json, text/csv", CSV),
        ("text/csv;q=2, text/plain", TEXT),
        ("text/csv;q=-1, text/plain", TEXT),
        ("text/csv;q=0.1234, text/plain", TEXT),
        ("text/csv;q=, text/plain", TEXT),
        ("*/json, text/plain", TEXT),
        ("text/, text/plain", TEXT),
        ("/, text/plain", TEXT),
        ("text/csv;, image/png", CSV),
        # as is a header that has nothing else
        ("", JSON),
        (",", JSON),
        ("json", JSON),
        ('"', JSON),
        ("text/csv;q=x", JSON),
    ],
)
def test_choose(accept: str, expected: str | None) -> None:
    """Each header leads to the media type that the RFC has in mind."""
    assert choose(accept, OFFERS) == expected


@given(st.text(alphabet='abc/*;,q=01."\\ ', max_size=60))
@example('"' + '\\"' * 20 + "\\")
def test_whatever_comes(accept: str) -> None:
    """Any header leads to one of the offers or to none."""
    assert choose(accept, OFFERS) in (*OFFERS, None)


@given(
    st.permutations(["text/plain;q=0.3", "text/csv;q=0.7", "application/json;q=0.2", "*/*;q=0"])
)
def test_order_is_of_no_importance(elements: list[str]) -> None:
    """The order of the header's elements changes nothing."""
    assert choose(",".join(elements), OFFERS) == CSV


@pytest.mark.parametrize("piece", ['"', '\\"', ";", " ; ", "a/b;", ",", 'a/b;c="\\', "*"])
def test_no_header_is_slow(piece: str) -> None:
    """Time grows with a header's length and no faster: one of a megabyte would take hours."""
    assert choose(piece * (1_000_000 // len(piece)), OFFERS) in (*OFFERS, None)
    choose.cache_clear()
