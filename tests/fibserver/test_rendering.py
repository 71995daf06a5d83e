"""Rendered runs of elements, against naive encoding, and what happens to wrong ones."""

import random
from dataclasses import dataclass
from typing import Any

import pytest

from fibclient.formats import FORMATS, Format
from fibserver import rendering
from fibserver.rendering import CHUNK_BYTES, RenderingError, render
from tests.numbers import encoded

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)

SEVERAL_CHUNKS = (2000, 3400)
"""A run of more than three chunks in every format."""


@dataclass(frozen=True, slots=True, eq=False)
class LyingFormat(Format):
    """A format that predicts other ends than its elements have."""

    error_bytes: int = 0

    def offset(self, n: int) -> int:
        """Return a wrong offset for n > 0."""
        return Format.offset(self, n) + (self.error_bytes if n else 0)


def lying(format: Format, error_bytes: int) -> LyingFormat:
    """Return a format whose predicted ends are off by `error_bytes`."""
    return LyingFormat(
        format.name,
        format.media_type,
        format.element,
        format.separator_size,
        error_bytes=error_bytes,
    )


@every_format
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (1, 2), (2, 3), (0, 50), (90, 110), (470, 480), SEVERAL_CHUNKS, (50_000, 50_010)],
)
def test_bytes_and_ends(format: Format, start: int, stop: int) -> None:
    """A run is its elements, end to end, and every end is where the format says."""
    chunks: list[bytes] = []
    ends = render(format, start, stop, chunks.append)
    assert b"".join(chunks) == b"".join(encoded(format.name, start, stop))
    assert list(ends) == [format.offset(n) for n in range(start + 1, stop + 1)]
    assert ends.itemsize == 8


@every_format
def test_chunks(format: Format) -> None:
    """A long run is written in several chunks, none of them empty or far above the chunk size."""
    chunks: list[bytes] = []
    render(format, *SEVERAL_CHUNKS, chunks.append)
    assert len(chunks) > 3
    assert all(0 < len(chunk) <= 2 * CHUNK_BYTES for chunk in chunks)


@pytest.mark.parametrize("format", [FORMATS["json"], FORMATS["binary"]], ids=["json", "binary"])
def test_any_run(format: Format) -> None:
    """Runs of any start and length are right."""
    elements = encoded(format.name, 0, 1000)
    generator = random.Random(3141)
    for _ in range(50):
        start, stop = sorted(generator.sample(range(1001), 2))
        chunks: list[bytes] = []
        render(format, start, stop, chunks.append)
        assert b"".join(chunks) == b"".join(elements[start:stop])


@every_format
@pytest.mark.parametrize("doubling", ["fibonacci_pair", "fibonacci_pair_by_squares"])
@pytest.mark.parametrize("wrong", [0, 1])
def test_wrong_number_is_noticed(
    monkeypatch: pytest.MonkeyPatch, format: Format, doubling: str, wrong: int
) -> None:
    """If either doubling gives a wrong number, even of the right length, the run fails."""
    right = getattr(rendering, doubling)

    def faulty(n: int, number: type[Any]) -> tuple[Any, ...]:
        pair = list(right(n, number))
        pair[wrong] += 1
        return tuple(pair)

    monkeypatch.setattr(rendering, doubling, faulty)
    chunks: list[bytes] = []
    start, stop = SEVERAL_CHUNKS
    with pytest.raises(RenderingError):
        render(format, start, stop, chunks.append)
    assert sum(map(len, chunks)) <= format.offset(stop) - format.offset(start)


@every_format
@pytest.mark.parametrize("length", [2, 10])
def test_wrong_length_is_noticed(
    monkeypatch: pytest.MonkeyPatch, format: Format, length: int
) -> None:
    """Numbers far too long fail the run, and not a byte goes past its predicted end."""

    def faulty(n: int, number: type[Any]) -> tuple[Any, ...]:
        power = number(10) ** (length * n)
        return power, power + 1

    monkeypatch.setattr(rendering, "fibonacci_pair_by_squares", faulty)
    chunks: list[bytes] = []
    start, stop = SEVERAL_CHUNKS
    with pytest.raises(RenderingError):
        render(format, start, stop, chunks.append)
    assert sum(map(len, chunks)) <= format.offset(stop) - format.offset(start)


@every_format
@pytest.mark.parametrize("error_bytes", [-100_000, -1, 1, 100_000])
def test_wrong_prediction_is_noticed(format: Format, error_bytes: int) -> None:
    """A run of another size than predicted fails, and writes nothing past the prediction."""
    stop = SEVERAL_CHUNKS[1]
    wrong = lying(format, error_bytes)
    chunks: list[bytes] = []
    with pytest.raises(RenderingError):
        render(wrong, 0, stop, chunks.append)
    assert sum(map(len, chunks)) <= wrong.offset(stop)
