"""Limits on one reply, and the error that tells what they allow."""

import pytest

from fibcommon.formats import FORMATS, Format
from fibcommon.limits import Limits, TooLarge

TEXT = FORMATS["text"]
LIMITS = Limits(max_index=1000, max_answer_bytes=5000)


def test_within_the_limits() -> None:
    """What is exactly at a limit is allowed."""
    LIMITS.check_index(TEXT, 0, 1001)
    LIMITS.check_size(TEXT, 0, 5000)


@pytest.mark.parametrize("start", [0, 1, 100, 990, 1000])
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_largest_n(format: Format, start: int) -> None:
    """So many elements from any start are within both limits, and one more is not."""

    def check(stop: int) -> None:
        LIMITS.check_index(format, start, stop)
        LIMITS.check_size(format, start, format.slice_size(start, stop))

    count = LIMITS.largest_n(format, start)
    check(start + count)
    with pytest.raises(TooLarge) as caught:
        check(start + count + 1)
    assert caught.value.largest_n == count


@pytest.mark.parametrize(
    ("start", "stop", "setting", "size", "message"),
    [
        (0, 1002, "max_index", 1001, "request at most the first 213 as text"),
        (
            995,
            1002,
            "max_index",
            1001,
            "request at most 6 from F(995) on as text",
        ),
        (1001, 1002, "max_index", 1001, "F(1001) is too large: max_index is 1000"),
        (10**50, 10**50 + 9, "max_index", 10**50 + 8, "F(10000000000000000000... of 51 digits)"),
    ],
)
def test_error(start: int, stop: int, setting: str, size: int, message: str) -> None:
    """The error names the limit and the largest N, if any is allowed."""
    with pytest.raises(TooLarge) as caught:
        LIMITS.check_index(TEXT, start, stop)
    assert (caught.value.setting, caught.value.size) == (setting, size)
    assert message in str(caught.value)
    assert ("request at most" in str(caught.value)) is (start <= 1000)


def test_error_of_size() -> None:
    """The error for too many bytes has their number."""
    with pytest.raises(TooLarge, match=r"5001 bytes.*max_answer_bytes is 5.0 kB") as caught:
        LIMITS.check_size(TEXT, 0, 5001)
    assert (caught.value.setting, caught.value.limit) == ("max_answer_bytes", 5000)
