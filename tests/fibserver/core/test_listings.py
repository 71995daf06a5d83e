"""Tests of listings, which are built in steps and shared."""

from collections.abc import Iterator

import pytest

from fibserver.core.listings import LINES_PER_STEP, Listings
from fibserver.protocol.reply_encoding import encode


class Lines:
    """Numbered lines, which can be generated several times.

    Attributes:
        begun: Number of times the generator was started.
        made: Number of lines generated.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.begun = 0
        self.made = 0

    def __call__(self) -> Iterator[str]:
        self.begun += 1
        for number in range(self._count):
            self.made += 1
            yield f"{self.begun}:{number}\n"

    def text(self, time: int) -> bytes:
        """Return the reply of the listing that was started as number `time`, from 1."""
        return encode("".join(f"{time}:{number}\n" for number in range(self._count)))


def finish(reader: Iterator[bytes]) -> bytes:
    """Return all that a reader yields."""
    return b"".join(reader)


def test_a_step_makes_few_lines() -> None:
    """Each step generates a few lines and yields nothing; the last yields the whole reply."""
    for count in (0, 1, LINES_PER_STEP - 1, LINES_PER_STEP, 10 * LINES_PER_STEP):
        lines, listings = Lines(count), Listings()
        made, parts = 0, []
        for part in listings.read("all", lines):
            parts.append(part)
            assert lines.made - made <= LINES_PER_STEP
            made = lines.made
        assert parts == [b""] * (count // LINES_PER_STEP + 1) + [lines.text(1)]
        assert len(listings) == 0


def test_requests_share_next_listing() -> None:
    """Requests that arrive while a listing is being built share the next one."""
    lines, listings = Lines(100), Listings()
    first, second, third = (listings.read("all", lines) for _ in range(3))
    assert next(first) == next(second) == next(third) == b""
    assert len(listings) == 2
    assert finish(first) == lines.text(1)
    texts = finish(second), next(part for part in third if part)
    assert texts == (lines.text(2), lines.text(2))
    assert lines.begun == 2


def test_waiting_reader_continues_first_listing() -> None:
    """A reader whose listing is queued continues the first listing instead."""
    one, other, listings = Lines(64), Lines(64), Listings()
    first, second = listings.read("one", one), listings.read("other", other)
    next(first)
    for _ in range(4):
        next(second)
    assert (one.made, other.made) == (64, 0)
    assert finish(second) == other.text(1)
    assert finish(first) == one.text(1)


def test_listing_is_discarded_with_last_reader() -> None:
    """A listing is discarded when its last reader is closed."""
    lines, listings = Lines(1000), Listings()
    first, second = listings.read("all", lines), listings.read("all", lines)
    next(first)
    next(second)
    first.close()
    second.close()
    assert len(listings) == 0
    assert finish(listings.read("all", Lines(3))) == Lines(3).text(0).replace(b"0:", b"1:")


def test_shared_listing_continues_for_second_reader() -> None:
    """A shared listing continues when one of its readers is closed."""
    lines, listings = Lines(20), Listings()
    held = listings.read("other", Lines(50))
    next(held)  # so that the next two share a listing
    first, second = listings.read("all", lines), listings.read("all", lines)
    next(first)
    next(second)
    first.close()
    assert finish(second) == lines.text(1)


@pytest.mark.parametrize("good", [0, 1, LINES_PER_STEP, 3 * LINES_PER_STEP])
def test_failed_listing_raises_to_its_readers(good: int) -> None:
    """An error in a listing is raised to its own readers only, and later listings continue."""

    def lines() -> Iterator[str]:
        yield from ["x\n"] * good
        raise ZeroDivisionError

    first, last, listings = Lines(100), Lines(3), Listings()
    held = listings.read("first", first)
    failing = [listings.read("bad", lines) for _ in range(2)]
    waiting = listings.read("last", last)
    for reader in (held, *failing, waiting):
        next(reader)
    assert len(listings) == 3
    assert finish(waiting) == last.text(1)
    assert finish(held) == first.text(1)
    for reader in failing:
        with pytest.raises(ZeroDivisionError):
            finish(reader)
    assert len(listings) == 0


def test_listing_that_fails_at_start_is_removed() -> None:
    """A listing that fails before its first line is removed."""

    def begin() -> Iterator[str]:
        raise ZeroDivisionError

    listings = Listings()
    with pytest.raises(ZeroDivisionError):
        finish(listings.read("bad", begin))
    assert len(listings) == 0
