"""Formatting of sizes, rates and durations."""

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
def test_size_has_largest_unit(size_bytes: int, text: str) -> None:
    """A size has the largest unit in which it is at least 1."""
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
def test_duration_has_suitable_unit(seconds: float, text: str) -> None:
    """A duration has the largest unit in which it is at least 2; short ones are in ms."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00008214, "0.0821 ms"), (0.0123, "12.3 ms"), (1.5, "1,500 ms")]
)
def test_milliseconds_have_three_digits(seconds: float, text: str) -> None:
    """Three significant digits are shown, or all digits before the decimal point."""
    assert milliseconds_text(seconds) == text


@pytest.mark.parametrize(
    ("amount", "seconds", "text"),
    [(24_690, 2.0, "12,345/s"), (3, 2.0, "1.5/s"), (0, 1.0, "0/s"), (5, 0.0, "0/s")],
)
def test_rate_format(amount: float, seconds: float, text: str) -> None:
    """Small rates have a decimal; a rate over no time is 0."""
    assert rate_text(amount, seconds) == text
