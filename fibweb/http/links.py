"""Links between neighbouring ranges (RFC 8288), for programs that read one after another."""

__all__ = ["range_links"]


def range_links(start: int, count: int, max_index: int | None, parameter: str = "") -> str:
    """Return the Link header of a range, or "" if it has no neighbours.

    Args:
        start: First index, >= 0.
        count: Number of elements, >= 0.
        max_index: Largest index that can be requested, None if it is unknown.
        parameter: A parameter that the links keep, such as `format=csv`; empty for none.
    """
    stop = start + count
    remaining = count if max_index is None else max_index + 1 - stop
    ranges = {
        "next": (stop, min(count, remaining)),
        "prev": (max(start - count, 0), min(count, start)),
    }
    suffix = f"&{parameter}" if parameter else ""
    return ", ".join(
        f'<?start={begin}&count={length}{suffix}>; rel="{relation}"'
        for relation, (begin, length) in ranges.items()
        if length > 0
    )
