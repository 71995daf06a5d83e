"""Requests for byte ranges of slices."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.connections.encoded_slice import MAX_INDEX, EncodedSlice, group_consecutive
from tests.support.expected import expected

FORMATS = ["json", "text", "csv", "ndjson", "bfile", "binary"]


@st.composite
def some_bytes(draw: st.DrawFn) -> tuple[EncodedSlice, int, int]:
    """Draw a slice that is not empty, and a byte range of it that is not empty."""
    format = draw(st.sampled_from(FORMATS))
    start = draw(st.integers(0, 120))
    slice_ = EncodedSlice.of(start, start + draw(st.integers(1, 60)), format)
    begin = draw(st.integers(0, slice_.size - 1))
    return slice_, begin, draw(st.integers(begin + 1, slice_.size))


@given(some_bytes())
def test_a_request_brings_the_wanted_bytes(case: tuple[EncodedSlice, int, int]) -> None:
    """The reply to the request has the wanted bytes after those to skip."""
    slice_, begin, end = case
    name = slice_.format.name
    request = slice_.request(begin, end)
    reply = expected(name, request.start, request.stop)
    assert len(reply) == request.size
    wanted = expected(name, slice_.start, slice_.stop)[begin:end]
    assert reply[request.skip : request.skip + end - begin] == wanted


@given(some_bytes())
def test_a_request_is_the_smallest(case: tuple[EncodedSlice, int, int]) -> None:
    """Its first and last elements have wanted bytes, or the separator next to them."""
    slice_, begin, end = case
    request = slice_.request(begin, end)
    assert 0 <= request.skip < slice_.format.size(request.start)
    without_last = slice_.between(request.start, request.stop - 1).size
    assert without_last < request.skip + end - begin


@given(some_bytes(), st.integers(1, 9))
def test_parts_make_up_the_slice(case: tuple[EncodedSlice, int, int], count: int) -> None:
    """Parts are consecutive, and no more than requested."""
    slice_, _, _ = case
    parts = slice_.parts(count)
    name = slice_.format.name
    assert 1 <= len(parts) <= count
    pieces = [expected(name, part.start, part.stop) for part in parts]
    assert slice_.format.separator.join(pieces) == expected(name, slice_.start, slice_.stop)
    assert [len(piece) for piece in pieces] == [part.size for part in parts]


def test_parts_are_of_about_the_same_size() -> None:
    """A large slice is split into equal numbers of bytes, not of elements."""
    sizes = [part.size for part in EncodedSlice.of(0, 10_000, "text").parts(4)]
    assert max(sizes) - min(sizes) < 2 * 2091


def test_more_parts_than_elements() -> None:
    """There are no more parts than elements."""
    assert [part.stop for part in EncodedSlice.of(3, 6, "text").parts(10**12)] == [4, 5, 6]


def test_requests_for_huge_slices() -> None:
    """Requests can be computed for slices that no machine could hold."""
    slice_ = EncodedSlice.of(0, 2**100, "json")
    request = slice_.request(10**50, 10**50 + 100)
    assert request.stop - request.start <= 2
    assert 0 <= request.skip < slice_.format.size(request.start)


def test_empty_slice_has_no_bytes() -> None:
    """An empty slice has no bytes."""
    assert EncodedSlice.of(5, 5, "json").size == 0


@pytest.mark.parametrize(
    ("start", "stop"),
    [(-1, 5), (5, 4), (0, MAX_INDEX + 1), (MAX_INDEX + 1, MAX_INDEX + 1)],
)
def test_impossible_range_raises(start: int, stop: int) -> None:
    """An impossible range raises ValueError."""
    with pytest.raises(ValueError, match="must hold"):
        EncodedSlice.of(start, stop, "json")


def test_bounds_too_long_to_be_printed() -> None:
    """The message has no digits of bounds that Python refuses to convert to text."""
    with pytest.raises(ValueError, match="a number of 16610 bits"):
        EncodedSlice.of(-(10**5000), 10**5000, "json")


@pytest.mark.parametrize("bound", [1.0, "1", None])
def test_bounds_are_integers(bound: Any) -> None:
    """A bound that is not an integer raises TypeError."""
    with pytest.raises(TypeError):
        EncodedSlice.of(0, bound, "json")


@pytest.mark.parametrize("format", ["xml", "", "JSON", "array"])
def test_unknown_format_raises(format: str) -> None:
    """An unknown format raises with the known ones; `array` is for Redis clients only."""
    with pytest.raises(ValueError, match="must be one of json, text"):
        EncodedSlice.of(0, 1, format)


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)), min_size=1, max_size=12),
)
def test_joined_slices_are_cut_again(format: str, bounds: list[tuple[int, int]]) -> None:
    """Joined slices have the bytes of those they consist of; no single ones are consecutive."""
    slices = {EncodedSlice.of(start, start + count, format) for start, count in bounds}
    runs = group_consecutive(slices)
    assert {part for parts in runs.values() for part in parts} == slices
    for run, parts in runs.items():
        cut = run.split_bytes(expected(format, run.start, run.stop), parts)
        assert cut == [expected(format, part.start, part.stop) for part in parts]
    single = group_consecutive({EncodedSlice.of(start, start + 1, format) for start, _ in bounds})
    assert {run.stop for run in single}.isdisjoint(run.start for run in single)
