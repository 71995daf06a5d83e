"""Limits of a server on one reply, and an error with the largest reply that they allow."""

from functools import lru_cache
from typing import NamedTuple

from fibcommon.bounds import shortened
from fibcommon.formats import Format
from fibcommon.units import exact_size_text

__all__ = ["Limits", "TooLarge"]


class TooLarge(ValueError):
    """A slice that exceeds a limit.

    Attributes:
        setting: Name of the limit, `max_index` or `max_answer_bytes`.
        limit: Its value.
        size: What the slice would have: its last index, or its number of bytes.
        largest_n: How many elements from the same start the limits allow, in the same format.
    """

    def __init__(self, problem: str, setting: str, limit: int, size: int, largest_n: int) -> None:
        super().__init__(problem)
        self.setting = setting
        self.limit = limit
        self.size = size
        self.largest_n = largest_n


class Limits(NamedTuple):
    """Limits that a server sets on each reply.

    Attributes:
        max_index: Largest index of an element.
        max_answer_bytes: Largest size of the elements in bytes.
    """

    max_index: int
    max_answer_bytes: int

    def largest_n(self, format: Format, start: int = 0) -> int:
        """Return the largest N such that N elements from F(start) are within the limits.

        Args:
            format: Format of the elements.
            start: Index of the first one, >= 0.
        """
        return _max_count(format, self.max_index, self.max_answer_bytes, start)

    def check_index(self, format: Format, start: int, stop: int) -> None:
        """Raise TooLarge if elements start to stop-1 go beyond `max_index`."""
        last = stop - 1
        if last > self.max_index:
            problem = f"F({shortened(last)}) is too large: max_index is {self.max_index}"
            raise self._too_large(problem, "max_index", self.max_index, last, format, start)

    def check_size(self, format: Format, start: int, size_bytes: int) -> None:
        """Raise TooLarge if elements from F(start) have more than `max_answer_bytes`."""
        limit = self.max_answer_bytes
        if size_bytes > limit:
            problem = (
                f"the numbers have {exact_size_text(size_bytes)}, but max_answer_bytes is "
                f"{exact_size_text(limit)}"
            )
            raise self._too_large(problem, "max_answer_bytes", limit, size_bytes, format, start)

    def _too_large(
        self, problem: str, setting: str, limit: int, size: int, format: Format, start: int
    ) -> TooLarge:
        count = self.largest_n(format, start)
        message = f"{problem}{_what_fits(format, start, count)}"
        return TooLarge(message, setting, limit, size, count)


@lru_cache(maxsize=64)
def _max_count(format: Format, max_index: int, max_answer_bytes: int, start: int) -> int:
    # It takes 0.3 ms, and the arguments are often the same.
    return format.max_count(max_index, max_answer_bytes, start)


def _what_fits(format: Format, start: int, count: int) -> str:
    if count == 0:
        return ""
    numbers = f"{count} from F({start}) on" if start else f"the first {count}"
    return f"; request at most {numbers} as {format.name}"
