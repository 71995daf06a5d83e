"""The format table, compared with independent encoders."""

import json
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format, decode_binary
from tests.support.expected import ENCODERS, EXACT, encoded, walk

WALKED = 20_000
THRESHOLDS = [1, 2, 10, 45, 100, 476, 1000, 4782, 10**4, 47_847, 10**5, 478_495, 10**6, 4_784_968]
"""Where an index, or the number of digits of a length, grows by one digit."""

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


@cache
def walked_sizes() -> dict[str, list[int]]:
    """The sizes of the first elements in all formats, from the numbers themselves."""
    sizes: dict[str, list[int]] = {name: [] for name in ENCODERS}
    for number in walk(0, WALKED + 1):
        for name, encode in ENCODERS.items():
            sizes[name].append(len(encode(*number)))
    return sizes


def fibonacci(n: int) -> tuple[Decimal, int]:
    """Return F(n) as a decimal and as an int, by fast doubling."""
    decimal, next_decimal = Decimal(0), Decimal(1)
    value, next_value = 0, 1
    with localcontext(EXACT):
        for bit in bin(n)[2:]:
            decimal, next_decimal = (
                decimal * (2 * next_decimal - decimal),
                decimal * decimal + next_decimal * next_decimal,
            )
            value, next_value = (
                value * (2 * next_value - value),
                value * value + next_value * next_value,
            )
            if bit == "1":
                decimal, next_decimal = next_decimal, decimal + next_decimal
                value, next_value = next_value, value + next_value
    return decimal, value


def test_table_has_all_formats() -> None:
    """The table has all formats, under their own names."""
    assert list(FORMATS) == ["array", "json", "text", "csv", "ndjson", "bfile", "binary"]
    assert all(name == format.name for name, format in FORMATS.items())


def test_encoders_match_documented_examples() -> None:
    """The encoders of this test produce the documented examples."""
    elements = {name: encoded(name, 7, 8)[0] for name in ENCODERS}
    assert elements == {
        "array": b"$2\r\n13\r\n",
        "json": b'"13",',
        "text": b"13\n",
        "csv": b"7,13\n",
        "ndjson": b'{"n":7,"value":"13"}\n',
        "bfile": b"7 13\n",
        "binary": b"\1\0\0\0\x0d",
    }


@every_format
def test_sizes_and_offsets(format: Format) -> None:
    """The sizes and offsets of the first elements are those of the encoded elements."""
    offset = 0
    for n, size in enumerate(walked_sizes()[format.name]):
        assert (format.size(n), format.offset(n)) == (size, offset), n
        offset += size


@pytest.mark.parametrize("n", random.Random(11235).sample(range(10**6), 30))
def test_sizes_of_large_elements(n: int) -> None:
    """The sizes of far elements are those of the encoded elements."""
    decimal, value = fibonacci(n)
    digits, magnitude = str(decimal), value.to_bytes((value.bit_length() + 7) // 8, "little")
    for name, format in FORMATS.items():
        assert format.size(n) == len(ENCODERS[name](n, digits, magnitude)), name


@every_format
def test_offsets_grow_by_the_size(format: Format) -> None:
    """The offset grows from each element to the next by the size of the element."""
    near = [n + step for n in THRESHOLDS for step in (-1, 0, 1)]
    for n in near + random.Random(813).sample(range(10**7), 200):
        assert format.offset(n + 1) - format.offset(n) == format.size(n), n


@every_format
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (0, 50), (7, 7), (7, 8), (90, 110), (470, 480)]
)
def test_slice_size(format: Format, start: int, stop: int) -> None:
    """The size of a slice is that of its elements without the last separator."""
    data = b"".join(encoded(format.name, start, stop))
    if format.name == "json":
        data = data.removesuffix(b",")
        json.loads(b"[" + data + b"]")
    assert format.slice_size(start, stop) == len(data)


@settings(deadline=None)
@given(
    format=st.sampled_from(list(FORMATS.values())),
    start=st.integers(0, 5) | st.integers(0, 10**7),
    size_bytes=st.integers(0, 200) | st.integers(0, 10**8),
)
def test_stop_within(format: Format, start: int, size_bytes: int) -> None:
    """`stop_within` returns the largest stop that fits."""
    stop = format.stop_within(start, size_bytes)
    assert stop >= start
    assert format.offset(stop) <= format.offset(start) + size_bytes < format.offset(stop + 1)


@pytest.mark.parametrize(
    ("name", "count"),
    [("array", 143_310), ("json", 143_342), ("text", 143_352), ("binary", 222_419)],
)
def test_max_count_of_the_default_limits(name: str, count: int) -> None:
    """2 GiB hold so many of the first numbers."""
    format = FORMATS[name]
    assert format.max_count(10_000_000, 2**31) == count
    assert format.slice_size(0, count) <= 2**31 < format.slice_size(0, count + 1)


@settings(deadline=None)
@given(
    format=st.sampled_from(list(FORMATS.values())),
    max_index=st.integers(0, 20) | st.integers(0, 10**7),
    max_size_bytes=st.integers(0, 100) | st.integers(0, 10**12),
)
def test_max_count(format: Format, max_index: int, max_size_bytes: int) -> None:
    """The first N are within both limits, and one more is beyond one of them."""
    count = format.max_count(max_index, max_size_bytes)
    assert count <= max_index + 1
    assert format.slice_size(0, count) <= max_size_bytes
    assert count == max_index + 1 or format.slice_size(0, count + 1) > max_size_bytes


@every_format
@pytest.mark.parametrize("count", [2, 3, 50, 10_000])
def test_max_count_of_an_exact_size(format: Format, count: int) -> None:
    """The first N fit in their own size, without a separator after the last, and not in less."""
    size = format.slice_size(0, count)
    assert format.max_count(10**7, size) == count
    assert format.max_count(10**7, size - 1) == count - 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_decode_binary(kind: Callable[[bytes], bytes]) -> None:
    """The format `binary` is decoded to the numbers, from any bytes-like object."""
    data = b"".join(encoded("binary", 0, 1000))
    numbers = [int.from_bytes(magnitude, "little") for _, _, magnitude in walk(0, 1000)]
    assert decode_binary(kind(data)) == numbers
    assert decode_binary(kind(b"")) == []


def test_decode_truncated_binary() -> None:
    """Data that ends inside an element is an error."""
    elements = encoded("binary", 0, 60)
    data = b"".join(elements)
    boundaries = {len(b"".join(elements[:count])) for count in range(len(elements) + 1)}
    for size in range(len(data) + 1):
        if size in boundaries:
            decode_binary(data[:size])
        else:
            with pytest.raises(ValueError, match="ends inside an element"):
                decode_binary(data[:size])
