"""Streaming checker of encoded numbers."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.cli.checks.digits import SliceChecker, WrongNumber
from fibcommon.formats import FORMATS
from tests.support.expected import encoded, expected


def check(format: str, start: int, stop: int, *pieces: bytes) -> None:
    """Check a slice that arrives in pieces."""
    checker = SliceChecker(FORMATS[format], start, stop)
    for piece in pieces:
        checker.feed(piece)
    checker.finish()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (0, 2), (0, 300), (7, 7), (7, 8), (4000, 4010)]
)
def test_correct_slice_passes_in_any_pieces(format: str, start: int, stop: int, size: int) -> None:
    """A correct slice passes in pieces of any size."""
    elements = expected(format, start, stop)
    check(format, start, stop, *(elements[i : i + size] for i in range(0, len(elements), size)))


@pytest.mark.parametrize("format", FORMATS)
def test_wrong_byte_is_attributed_to_its_number(format: str) -> None:
    """Every wrong byte is found, and attributed to its number."""
    elements = expected(format, 0, 40)
    ends = list(accumulate(map(len, encoded(format, 0, 40))))
    for position, byte in enumerate(elements):
        for other in {byte ^ 1, byte ^ 0x80, ord("0"), ord("_")} - {byte}:
            wrong = bytes([*elements[:position], other, *elements[position + 1 :]])
            with pytest.raises(WrongNumber) as caught:
                check(format, 0, 40, wrong)
            assert caught.value.n == sum(end <= position for end in ends)


@pytest.mark.parametrize("format", FORMATS)
def test_slice_of_wrong_length_is_wrong(format: str) -> None:
    """A slice that is too short or too long is wrong."""
    elements = expected(format, 0, 40)
    for size in range(len(elements)):
        with pytest.raises(WrongNumber, match="ends before or within"):
            check(format, 0, 40, elements[:size])
    with pytest.raises(WrongNumber, match=r"F\(40\) is wrong: it was not requested"):
        check(format, 0, 40, elements, b"1")


@given(
    n=st.integers(0, 99),
    digit=st.integers(0, 2089),
    other=st.sampled_from("0123456789"),
    data=st.data(),
)
def test_wrong_digit_of_long_number_is_found(
    n: int, digit: int, other: str, data: st.DataObject
) -> None:
    """One wrong digit of a long number is found, wherever the pieces are cut."""
    elements = bytearray(expected("text", 9_900, 10_000))
    position = FORMATS["text"].offset(9_900 + n) - FORMATS["text"].offset(9_900)
    position += digit % (FORMATS["text"].size(9_900 + n) - 1)
    is_same = elements[position] == ord(other)
    elements[position] = ord(other)
    cut = data.draw(st.integers(0, len(elements)))
    if is_same:
        check("text", 9_900, 10_000, bytes(elements[:cut]), bytes(elements[cut:]))
        return
    with pytest.raises(WrongNumber) as caught:
        check("text", 9_900, 10_000, bytes(elements[:cut]), bytes(elements[cut:]))
    assert caught.value.n == 9_900 + n


@pytest.mark.parametrize(
    ("format", "element", "reason"),
    [
        ("text", b"03\n", "it has a leading zero"),
        ("text", b"1x\n", "'x' is not a digit"),
        ("text", b"14\n", "modulo 2^61-1 it is 14, expected 13"),
        ("text", b"13\r", r"the text is '\r', expected '\n'"),
        ("csv", b"8,13\n", "the index is '8', expected '7'"),
        ("array", b"$3\r\n13\r\n", "the length is '3', expected '2'"),
        ("binary", b"\x02\0\0\0\x0d\0", "the length"),
        ("binary", b"\x01\0\0\0\0", "its most significant byte is zero"),
        ("ndjson", b'{"n":7,"value":13}\n', "the text"),
    ],
)
def test_error_names_number_and_reason(format: str, element: bytes, reason: str) -> None:
    """The error names the number and what is wrong with it."""
    with pytest.raises(WrongNumber) as caught:
        check(format, 7, 9, element)
    assert str(caught.value).startswith(f"F(7) is wrong: {reason}")


def test_swapped_numbers_are_wrong() -> None:
    """Two correct numbers in the wrong order are wrong."""
    first, second = encoded("text", 100, 102)
    with pytest.raises(WrongNumber) as caught:
        check("text", 100, 102, second + first)
    assert caught.value.n == 100
