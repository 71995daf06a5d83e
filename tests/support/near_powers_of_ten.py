"""Indices whose Fibonacci number is closest to a power of the base, where floors are hardest."""

from fibcommon.logarithms import GrowthLine
from fibcommon.sizes import floor_sum


def has_ambiguous_floor(line: GrowthLine, start: int, stop: int, distance: int) -> bool:
    """Return whether some n with start <= n < stop is within `distance` of an integer on the line.

    That is so exactly if the sums of the floors of the lines below and above differ, since no
    floor of the lower one is larger.

    Args:
        line: The line n·slope - shift.
        start: First index, >= 2.
        stop: Index after the last.
        distance: Scaled distance.
    """
    count, scaled = stop - start, line.scaled(start)
    below, above = (
        floor_sum(count, line.slope, scaled + side, 1 << line.scale_bits)
        for side in (-distance, distance)
    )
    return below != above


def first_ambiguous(line: GrowthLine, start: int, distance: int) -> int:
    """Return the smallest n >= start within `distance` of an integer on the line.

    Args:
        line: The line n·slope - shift.
        start: First index, >= 2.
        distance: Scaled distance.
    """
    length = 1
    while not has_ambiguous_floor(line, start, start + length, distance):
        length *= 2
    low, high = start, start + length
    while high - low > 1:
        middle = (low + high) // 2
        if has_ambiguous_floor(line, start, middle, distance):
            high = middle
        else:
            low = middle
    return low
