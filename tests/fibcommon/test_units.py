"""Formatting of sizes."""

import pytest

from fibcommon.units import exact_size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB (1500 bytes)"),
        (104_496_866_148, "104.5 GB (104496866148 bytes)"),
    ],
)
def test_exact_size_has_unit_and_bytes(size_bytes: int, text: str) -> None:
    """An exact size is readable, and has the number that programs need."""
    assert exact_size_text(size_bytes) == text
