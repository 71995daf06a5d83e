"""Tests for the Accept and Accept-Encoding headers (RFC 9110)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fibweb.http.negotiation import choose, choose_coding

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
        # the highest quality
        ("text/plain;q=0.5, text/csv;q=0.9", CSV),
        ("text/plain; q=0.5 , text/csv ; q = 0.4", TEXT),
        ("text/csv;q=0.001", CSV),
        ("application/json;q=0.9, */*;q=0.8", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        # q=0 excludes an offer, and the most specific range decides
        ("application/json;q=0, */*", TEXT),
        ("*/*, application/json;q=0", TEXT),
        ("application/*;q=0, */*;q=0.1", TEXT),
        ("text/*;q=0.9, text/plain;q=0.1", CSV),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        # among equals the most specific range, then the first offer
        ("*/*, text/csv", CSV),
        ("text/*, application/octet-stream", BINARY),
        ("text/csv, application/json", JSON),
        # parameters: any charset matches, others must be equal
        ("text/plain; charset=iso-8859-1", TEXT),
        ('text/csv; header="absent"', CSV),
        ("text/csv; header=present", None),
        ("application/json; profile=x", None),
        ("text/csv;q=0.1, text/csv;header=absent;q=0.2, text/plain;q=0.15", CSV),
        # parameters after q are ignored (accept-ext of RFC 7231)
        ("text/csv;q=0.5;header=present", CSV),
        # quoted strings
        ('image/png;x="a,text/csv", text/plain', TEXT),
        ('image/png;x="a;q=0\\", text/csv', None),
        ('image/png;x="\\",text/csv;q=1", text/plain;q=0.1', TEXT),
        # invalid media ranges are ignored
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
        # and so is a header of only invalid ones
        ("", JSON),
        (",", JSON),
        ("json", JSON),
        ('"', JSON),
        ("text/csv;q=x", JSON),
    ],
)
def test_choose(accept: str, expected: str | None) -> None:
    """Each header selects the media type that the RFC defines."""
    assert choose(accept, OFFERS) == expected


@given(st.text(alphabet='abc/*;,q=01."\\ ', max_size=60))
@example('"' + '\\"' * 20 + "\\")
def test_any_accept_header(accept: str) -> None:
    """Any header selects one of the offers or none."""
    assert choose(accept, OFFERS) in (*OFFERS, None)


@given(
    st.permutations(["text/plain;q=0.3", "text/csv;q=0.7", "application/json;q=0.2", "*/*;q=0"])
)
def test_order_is_of_no_importance(elements: list[str]) -> None:
    """The order of the media ranges does not matter."""
    assert choose(",".join(elements), OFFERS) == CSV


@pytest.mark.parametrize("piece", ['"', '\\"', ";", " ; ", "a/b;", ",", 'a/b;c="\\', "*"])
def test_no_header_is_slow(piece: str) -> None:
    """Parsing time is linear; with backtracking, a header of a megabyte would take hours."""
    assert choose(piece * (1_000_000 // len(piece)), OFFERS) in (*OFFERS, None)
    choose.cache_clear()


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("br", "identity"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, zstd;q=0.9", "gzip"),
        ("gzip; q = 0.5 , zstd ; q=0.4", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0, *", "zstd"),
        ("*", "zstd"),
        ("*;q=0", "identity"),
        ("*;q=0, gzip;q=0.1", "gzip"),
        ("zstd;q=0, *;q=0.1", "gzip"),
        # identity
        ("identity", "identity"),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.9", "identity"),
        ("identity;q=0.5, *;q=0.1", "identity"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", "identity"),
        ("identity;q=0, br", "identity"),
        # invalid elements are ignored
        (", ,gzip,,", "gzip"),
        ("gzip;q=2", "identity"),
        ("gzip;q=-1, zstd;q=0.1", "zstd"),
        ("gzip;q", "identity"),
        ("gzip;level=9", "identity"),
        ("gzip;", "gzip"),
        ("gzip" + " " * 1100, "identity"),
    ],
)
def test_choice_of_coding(accept_encoding: str, expected: str) -> None:
    """Accept-Encoding chooses as RFC 9110 says; no coding is the last resort."""
    assert choose_coding(accept_encoding, ("zstd", "gzip")) == expected


@given(st.text(max_size=60))
@example(";;q=,;=")
def test_any_header_chooses_a_coding(accept_encoding: str) -> None:
    """Nothing a client sends is an error."""
    assert choose_coding(accept_encoding, ("gzip",)) in ("gzip", "identity")
