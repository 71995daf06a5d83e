"""Links between neighbouring ranges (RFC 8288), for programs that read one after another."""

__all__ = ["range_links"]


def range_links(start: int, count: int, max_index: int | None, format: str | None) -> str:
    """Return the Link header of a range, or "" if it has no neighbours.

    Args:
        start: First index, >= 0.
        count: Number of elements, >= 0.
        max_index: Largest index that can be requested, None if it is unknown.
        format: The parameter `format`, or None.
    """
    stop = start + count
    remaining = count if max_index is None else max_index + 1 - stop
    ranges = {
        "next": (stop, min(count, remaining)),
        "prev": (max(start - count, 0), min(count, start)),
    }
    suffix = f"&format={format}" if format else ""
    return ", ".join(
        f'<?start={begin}&count={length}{suffix}>; rel="{relation}"'
        for relation, (begin, length) in ranges.items()
        if length > 0
    )
