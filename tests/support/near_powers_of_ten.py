"""Indices whose Fibonacci number is closest to a power of the base, where floors are hardest."""

from fibcommon.logarithms import GrowthLine
from fibcommon.sizes import floor_sum


def has_ambiguous_floor(line: GrowthLine, stop: int, distance: int) -> bool:
    """Return whether some n with 2 <= n < stop is within `distance` of an integer on the line.

    That is so exactly if the sums of the floors of the lines below and above differ, since no
    floor of the lower one is larger.

    Args:
        line: The line n·slope - shift.
        stop: Index after the last.
        distance: Scaled distance.
    """
    below, above = (
        floor_sum(stop - 2, line.slope, 2 * line.slope - line.shift + side, 1 << line.scale_bits)
        for side in (-distance, distance)
    )
    return below != above


def first_ambiguous(line: GrowthLine, distance: int) -> int:
    """Return the smallest n >= 2 within `distance` of an integer on the line."""
    high = 4
    while not has_ambiguous_floor(line, high, distance):
        high *= 2
    low = 2
    while high - low > 1:
        middle = (low + high) // 2
        if has_ambiguous_floor(line, middle, distance):
            high = middle
        else:
            low = middle
    return low
