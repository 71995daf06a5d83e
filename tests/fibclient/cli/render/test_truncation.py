"""Lines that fit the terminal's width."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.cli.render.truncation import Line, lines
from tests.support.expected import digits, expected


def pieces(data: bytes, size: int) -> Iterator[memoryview]:
    """Yield the data in pieces, each overwritten when the next is requested."""
    for begin in range(0, len(data), size):
        piece = bytearray(data[begin : begin + size])
        yield memoryview(piece)
        piece[:] = b"x" * len(piece)


def shown(start: int, stop: int, columns: int, piece_size: int = 1000) -> list[Line]:
    """Return the lines for a range."""
    data = pieces(expected("text", start, stop), piece_size)
    return list(lines(data, start, stop, columns))


def test_fitting_numbers_are_shown_in_full() -> None:
    """Numbers that fit are shown in full, with aligned values."""
    assert ["".join(line) for line in shown(8, 12, 40)] == [
        "F(8)   21",
        "F(9)   34",
        "F(10)  55",
        "F(11)  89",
    ]


def test_long_number_is_shown_as_its_ends() -> None:
    """A number that does not fit is shown as its two ends and its number of digits."""
    assert "".join(*shown(1000, 1001, 60)) == (
        "F(1000)  4346655768693745643…6137795166849228875  209 digits"
    )


def test_counts_are_aligned_to_the_right() -> None:
    """Counts of different lengths are aligned to the right."""
    assert ["".join(line) for line in shown(4781, 4783, 50)] == [
        "F(4781)  6613373228392…6633847360981    999 digits",
        "F(4782)  1070066266382…8636250627816  1,000 digits",
    ]


def test_no_numbers_give_no_lines() -> None:
    """Without numbers there are no lines."""
    assert shown(7, 7, 80) == []


@pytest.mark.parametrize("n", [94, 95])
def test_digits_are_omitted_only_if_necessary(n: int) -> None:
    """Digits are left out only if the line is wider than the terminal."""
    value = digits(n, n + 1)[0]
    exact = len("F(94)  ") + len(value)
    assert shown(n, n + 1, exact) == [Line(f"F({n})  ", value, "")]
    assert "…" in shown(n, n + 1, exact - 1)[0].value


@given(
    start=st.integers(0, 300),
    count=st.integers(1, 30),
    columns=st.integers(1, 200),
    piece_size=st.integers(1, 500),
)
def test_lines_are_correct_for_any_piece_size(
    start: int, count: int, columns: int, piece_size: int
) -> None:
    """Lines are correct for any piece size, and fit unless the terminal is too narrow."""
    stop = start + count
    for line, value in zip(
        shown(start, stop, columns, piece_size), digits(start, stop), strict=True
    ):
        assert len("".join(line)) <= max(columns, len(line.label) + 3 + len(line.note))
        if line.note:
            head, tail = line.value.split("…")
            assert head
            assert tail
            assert value.startswith(head)
            assert value.endswith(tail)
            assert len(line.value) < len(value)
            assert line.note.strip() == f"{len(value):,} digits"
        else:
            assert line.value == value
