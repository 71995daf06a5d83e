"""Quantities as people read them."""

import pytest

from fibclient.cli.render.units import duration_text, milliseconds_text, rate_text, size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (434_145_000, "434.1 MB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10**15, "1,000.0 TB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    """A size has the largest unit of which there is at least one."""
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0005, "0.5 ms"),
        (0.1, "0.1 s"),
        (119.9, "119.9 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (5 * 86_400, "5 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """A time has the largest unit of which there are two, and of short ones, milliseconds."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00008214, "0.0821 ms"), (0.0123, "12.3 ms"), (1.5, "1,500 ms")]
)
def test_milliseconds(seconds: float, text: str) -> None:
    """Three digits are shown, and of large ones all before the point."""
    assert milliseconds_text(seconds) == text


@pytest.mark.parametrize(
    ("amount", "seconds", "text"),
    [(24_690, 2.0, "12,345/s"), (3, 2.0, "1.5/s"), (0, 1.0, "0/s"), (5, 0.0, "0/s")],
)
def test_rates(amount: float, seconds: float, text: str) -> None:
    """A rate is whole unless it is small, and nothing in no time is nothing."""
    assert rate_text(amount, seconds) == text
