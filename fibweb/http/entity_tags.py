"""Entity tags in conditional requests (RFC 9110, section 13).

All tags of fibweb are strong: responses with the same tag have the same bytes, forever.
"""

import re

__all__ = [
    "contains_tag",
    "if_range_matches",
    "is_any",
    "is_match",
    "is_not_modified",
    "mismatch",
]

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def contains_tag(header: str, tag: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags contains a tag.

    Args:
        header: Value of If-Match or If-None-Match.
        tag: Entity tag, with its quotes.
        weakly: Whether `W/"x"` matches `"x"`, as it does only in If-None-Match.
    """
    # The substring test spares most requests the parsing.
    return tag in header and any(
        name == tag and (weakly or not weak) for weak, name in _TAG.findall(header)
    )


def is_any(header: str) -> bool:
    """Whether a header is `*`, which matches any current representation."""
    return header.strip(" \t") == "*"


def is_match(if_match: str | None, tag: str | None) -> bool:
    """Whether an If-Match header allows the response, or else it is 412.

    Args:
        if_match: Value of the header, or None.
        tag: Current entity tag; None if the response has none.
    """
    if if_match is None or is_any(if_match):
        return True
    return tag is not None and contains_tag(if_match, tag, weakly=False)


def mismatch(tag: str | None) -> str:
    """Return the error message for an If-Match header that does not allow the response.

    Args:
        tag: Current entity tag; None if the response has none.
    """
    if tag is None:
        return "If-Match lists an entity tag, but the response has none: omit If-Match"
    return (
        f"If-Match does not list the entity tag {tag} of the response: list it, or omit If-Match"
    )


def is_not_modified(if_none_match: str, tag: str) -> bool:
    """Whether an If-None-Match header matches a tag, so that the response is 304."""
    return is_any(if_none_match) or contains_tag(if_none_match, tag, weakly=True)


def if_range_matches(if_range: str | None, tag: str) -> bool:
    """Whether an If-Range header allows a partial response.

    Args:
        if_range: Value of the header, or None. A date or a weak tag does not match.
        tag: Current entity tag.
    """
    return if_range is None or if_range.strip(" \t") == tag
