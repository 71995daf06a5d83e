"""Tests of rendering against a naive encoding, and of its verification."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format
from fibcommon.sizes import value_digits
from fibserver.compute import rendering
from fibserver.compute.arithmetic import fibonacci, fibonacci_pair
from fibserver.compute.rendering import (
    CHUNK_BYTES,
    LANES_BYTES,
    RenderingError,
    render,
    verify_last,
)
from fibserver.compute.simd_lanes import Lanes, Pair
from tests.support.expected import encoded

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
every_text_format = pytest.mark.parametrize(
    "format", [format for format in FORMATS.values() if format.name != "binary"], ids=str
)

SEVERAL_CHUNKS = (2000, 3400)
"""A run of more than three chunks in every format, computed one by one."""

IN_LANES = (3000, 4100)
"""A run of several chunks in each of several lanes, in every format but `binary`."""

both_ways = pytest.mark.parametrize("run", [SEVERAL_CHUNKS, IN_LANES], ids=["turn", "lanes"])

KNOWN = 6000
"""Number of elements from which random runs are taken."""


@cache
def known(format: str) -> list[bytes]:
    """Return the first elements of a format."""
    return encoded(format, 0, KNOWN)


def rendered(format: Format, start: int, stop: int) -> tuple[bytes, "array[int]"]:
    """Return the bytes and the ends of a run, whose chunks must be contiguous."""
    place: dict[int, bytes] = {}
    ends = render(format, start, stop, lambda chunk, offset: place.update({offset: chunk}))
    data = b""
    for offset, chunk in sorted(place.items()):
        assert offset == len(data)
        data += chunk
    return data, ends


class Recorder:
    """Target of chunks that records their sizes and the end of the last byte."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.end = 0

    def __call__(self, chunk: bytes, offset: int) -> None:
        """Record a chunk."""
        assert offset >= 0
        self.sizes.append(len(chunk))
        self.end = max(self.end, offset + len(chunk))


class LyingFormat(Format):
    """A format that predicts wrong offsets from some element on."""

    def __init__(self, format: Format, error_bytes: int, from_element: int) -> None:
        """Be like `format`, except that offsets are off by `error_bytes` from an element on."""
        super().__init__(format.name, format.media_type, format.element, format.separator_size)
        self.error_bytes = error_bytes
        self.from_element = from_element

    def offset(self, n: int) -> int:
        """Return a wrong offset for later elements."""
        return Format.offset(self, n) + (self.error_bytes if n >= self.from_element else 0)


@every_format
@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (1, 2),
        (2, 3),
        (0, 50),
        (90, 110),
        (470, 480),
        SEVERAL_CHUNKS,
        IN_LANES,
        (50_000, 50_010),
        (50_000, 50_037),
    ],
)
def test_bytes_and_ends(format: Format, start: int, stop: int) -> None:
    """A run is its elements joined, and their ends are those of the format."""
    data, ends = rendered(format, start, stop)
    assert data == b"".join(encoded(format.name, start, stop))
    assert list(ends) == [format.offset(n) for n in range(start + 1, stop + 1)]
    assert ends.itemsize == 8


@every_format
@both_ways
def test_chunks(format: Format, run: tuple[int, int]) -> None:
    """A long run is written in several chunks, none of them empty or far above the chunk size."""
    recorder = Recorder()
    render(format, *run, recorder)
    assert len(recorder.sizes) > 3
    assert min(recorder.sizes) > 0
    assert max(recorder.sizes) <= 2 * CHUNK_BYTES


def test_chunks_of_all_lanes() -> None:
    """The chunks of all lanes are small, however large the numbers are."""
    recorder = Recorder()
    render(FORMATS["json"], 50_000, 50_400, recorder)
    assert len(recorder.sizes) > 3
    assert max(recorder.sizes) <= LANES_BYTES


@settings(deadline=None)
@given(
    st.sampled_from(list(FORMATS.values())),
    st.integers(0, KNOWN - 1),
    st.integers(1, KNOWN),
)
def test_any_run(format: Format, start: int, count: int) -> None:
    """Runs of any start and length are rendered correctly."""
    stop = min(start + count, KNOWN)
    data, ends = rendered(format, start, stop)
    assert data == b"".join(known(format.name)[start:stop])
    assert (ends[0], ends[-1]) == (format.offset(start + 1), format.offset(stop))


@settings(deadline=None)
@given(
    st.sampled_from([format for format in FORMATS.values() if format.name != "binary"]),
    st.integers(0, 3000),
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from([1, 10_000, LANES_BYTES]),
)
def test_any_lanes(format: Format, start: int, count: int, lanes: int, lanes_bytes: int) -> None:
    """Any run is the same in any number of lanes, even more than it has elements."""
    stop = start + count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_lanes_for", lambda start, stop: lanes)
        patch.setattr(rendering, "LANES_BYTES", lanes_bytes)
        data, ends = rendered(format, start, stop)
    assert data == b"".join(known(format.name)[start:stop])
    assert list(ends) == [format.offset(n) for n in range(start + 1, stop + 1)]


def test_when_lanes_are_used() -> None:
    """Lanes are used if the numbers are large enough and the run is long enough."""
    count = rendering._lanes_for
    first = bisect_left(range(10_000), 1, key=lambda n: count(n, n + 1000))
    assert (count(first - 1, first + 1000), count(first, first + 1000)) == (0, 24)
    assert [count(30_000, 30_000 + n) for n in (1, 31, 32, 64, 1000)] == [0, 0, 2, 4, 8]
    assert [count(300_000, 300_000 + n) for n in (1, 15, 16, 64)] == [0, 0, 1, 1]
    for n in (first - 2, first - 1, first, first + 1):
        data, _ = rendered(FORMATS["json"], n, n + 500)
        assert data == b"".join(known("json")[n : n + 500])


@every_format
@both_ways
@pytest.mark.parametrize("wrong", [0, 1])
def test_wrong_number_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    format: Format,
    run: tuple[int, int],
    wrong: int,
) -> None:
    """A wrong result of doubling fails the run."""

    def faulty(n: int, number: type[Any]) -> tuple[Any, ...]:
        pair = list(fibonacci_pair(n, number))
        pair[wrong] += 1
        return tuple(pair)

    monkeypatch.setattr(rendering, "fibonacci_pair", faulty)
    recorder = Recorder()
    start, stop = run
    with pytest.raises(RenderingError):
        render(format, start, stop, recorder)
    assert recorder.end <= format.offset(stop) - format.offset(start)


@every_format
@pytest.mark.parametrize("n", [1, 2, 1000, 30_001])
@pytest.mark.parametrize("error", [1, -1, 10**5])
def test_wrong_single_number_is_noticed(
    monkeypatch: pytest.MonkeyPatch, format: Format, n: int, error: int
) -> None:
    """A wrong number that is computed alone fails the run."""
    monkeypatch.setattr(
        rendering, "fibonacci", lambda n, number: abs(fibonacci(n, number) + number(error))
    )
    with pytest.raises(RenderingError):
        render(format, n, n + 1, Recorder())


@pytest.mark.parametrize("lane", [0, 1, -2, -1])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_wrong_start_of_a_lane_is_noticed(
    monkeypatch: pytest.MonkeyPatch, lane: int, wrong: int
) -> None:
    """A wrong start of any lane fails the run."""

    def faulty(pairs: Sequence[Pair], *rest: Any) -> Lanes:
        pairs = [*pairs]
        pair = [*pairs[lane]]
        pair[wrong] += 1
        pairs[lane] = pair[0], pair[1]
        return Lanes(pairs, *rest)

    monkeypatch.setattr(rendering, "Lanes", faulty)
    with pytest.raises(RenderingError):
        render(FORMATS["json"], *IN_LANES, Recorder())


@pytest.mark.parametrize("lane", [0, 1, -2, -1])
@pytest.mark.parametrize("word", [1, 5, -1])
@pytest.mark.parametrize("number", ["_current", "_following"])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("bit", [0, 13, 15])
def test_a_flipped_bit_is_noticed(
    monkeypatch: pytest.MonkeyPatch, lane: int, word: int, number: str, call: int, bit: int
) -> None:
    """A flipped bit in any word of any lane fails the run."""

    class Faulty(Lanes):
        calls = 0

        def advance(self, steps: int) -> list[list[memoryview]]:
            numbers = super().advance(steps)
            self.calls += 1
            if self.calls == call:
                getattr(self, number)[lane, word] ^= 1 << bit
            return numbers

    monkeypatch.setattr(rendering, "Lanes", Faulty)
    monkeypatch.setattr(rendering, "LANES_BYTES", 300_000)  # three calls
    recorder = Recorder()
    start, stop = IN_LANES
    with pytest.raises(RenderingError):
        render(FORMATS["json"], start, stop, recorder)
    assert recorder.end <= FORMATS["json"].offset(stop) - FORMATS["json"].offset(start)


@every_format
@both_ways
@pytest.mark.parametrize("length", [2, 10])
def test_wrong_length_is_noticed(
    monkeypatch: pytest.MonkeyPatch, format: Format, run: tuple[int, int], length: int
) -> None:
    """Numbers that are much too long fail the run; no byte is written after its end."""

    def faulty(n: int, number: type[Any]) -> tuple[Any, ...]:
        power = number(10) ** (length * n)
        return power, power + 1

    monkeypatch.setattr(rendering, "fibonacci_pair", faulty)
    recorder = Recorder()
    start, stop = run
    with pytest.raises(RenderingError):
        render(format, start, stop, recorder)
    assert recorder.end <= format.offset(stop) - format.offset(start)


@every_text_format
def test_one_digit_too_many_is_noticed(monkeypatch: pytest.MonkeyPatch, format: Format) -> None:
    """Numbers with one digit too many fail the run; no byte is written after its end."""

    def faulty(n: int, number: type[Any]) -> tuple[Any, Any]:
        return fibonacci_pair(n + 5, number)

    monkeypatch.setattr(rendering, "fibonacci_pair", faulty)
    recorder = Recorder()
    start, stop = IN_LANES
    with pytest.raises(RenderingError):
        render(format, start, stop, recorder)
    assert recorder.end <= format.offset(stop) - format.offset(start)


@every_format
@pytest.mark.parametrize("error_bytes", [-100_000, -1, 1, 100_000])
@pytest.mark.parametrize(
    ("start", "stop", "from_element"),
    [(0, SEVERAL_CHUNKS[1], 1), (*IN_LANES, IN_LANES[0] + 1), (*IN_LANES, IN_LANES[1])],
)
def test_wrong_prediction_is_noticed(
    format: Format, error_bytes: int, start: int, stop: int, from_element: int
) -> None:
    """A run that differs from its predicted size fails; no byte is written after that."""
    wrong = LyingFormat(format, error_bytes, from_element)
    recorder = Recorder()
    with pytest.raises(RenderingError):
        render(wrong, start, stop, recorder)
    assert recorder.end <= max(0, wrong.offset(stop) - wrong.offset(start))


# Verification of elements rendered earlier.


@every_format
@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 7, 100, 1000, 30_001])
@pytest.mark.parametrize("count", [1, 3])
def test_rendered_elements_are_verified(format: Format, n: int, count: int) -> None:
    """Elements of any format that end with the right number are accepted."""
    start = max(0, n + 1 - count)
    verify_last(format, n, memoryview(rendered(format, start, n + 1)[0]))


@every_format
def test_any_flipped_bit_of_the_last_number_is_noticed(format: Format) -> None:
    """A flipped bit in the last number or after it is noticed."""
    data, _ = rendered(format, 300, 303)
    after = len(format.element[-1]) if isinstance(format.element[-1], str) else 0
    size = value_digits(302, 256 if format.name == "binary" else 10) + after
    for position in range(len(data) - size, len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(RenderingError):
                verify_last(format, 302, memoryview(damaged))


@every_format
@pytest.mark.parametrize("other", [299, 301, 330, 10, 5000])
def test_another_number_at_the_end_is_noticed(format: Format, other: int) -> None:
    """Elements that end with another Fibonacci number are rejected, whatever their size."""
    data, _ = rendered(format, other, other + 1)
    with pytest.raises(RenderingError):
        verify_last(format, 300, memoryview(data))


@every_format
@pytest.mark.parametrize("other", [29_999, 30_001])
def test_another_large_number_is_noticed(format: Format, other: int) -> None:
    """Of a large number only the last digits are verified, which are enough to tell it apart."""
    data, _ = rendered(format, other, other + 1)
    with pytest.raises(RenderingError):
        verify_last(format, 30_000, memoryview(data))


@every_format
def test_truncated_elements_are_noticed(format: Format) -> None:
    """Elements that were cut off are rejected, at whichever byte."""
    data, _ = rendered(format, 300, 301)
    for end in range(len(data)):
        with pytest.raises(RenderingError):
            verify_last(format, 300, memoryview(data)[:end])


@every_text_format
@pytest.mark.parametrize("new", [b"-", b"+", b" ", b"_", b".", b"e", b"\xb2"])
def test_numbers_contain_only_digits(format: Format, new: bytes) -> None:
    """Bytes are rejected as damaged that `Decimal` would accept, or fail to parse."""
    data, _ = rendered(format, 300, 301)
    end = len(data) - len(str(format.element[-1]))
    first = end - value_digits(300)
    for position in (first, end - 1):
        damaged = data[:position] + new + data[position + 1 :]
        with pytest.raises(RenderingError, match=r"F\(300\) is damaged"):
            verify_last(format, 300, memoryview(damaged))
