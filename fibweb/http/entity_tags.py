"""Whether a client has an answer already: conditional requests (RFC 9110, section 13).

All tags here are strong ones: a tag stands for the very bytes, for ever.
"""

import re

__all__ = ["contains_tag", "if_range_matches", "is_any", "is_known"]

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def contains_tag(header: str, tag: str, *, weakly: bool) -> bool:
    """Tell whether a list of entity tags has a certain one.

    Args:
        header: If-Match or If-None-Match.
        tag: with its quotes.
        weakly: whether `W/"x"` counts as `"x"`; it does for If-None-Match only.
    """
    # Most have none; only for those that have is it worth a closer look.
    return tag in header and any(
        name == tag and (weakly or not weak) for weak, name in _TAG.findall(header)
    )


def is_any(header: str) -> bool:
    """Tell whether a header is `*`, which stands for whatever there is."""
    return header.strip(" \t") == "*"


def is_known(if_none_match: str, tag: str) -> bool:
    """Tell whether a client has the bytes of a tag already, or says that any will do."""
    return is_any(if_none_match) or contains_tag(if_none_match, tag, weakly=True)


def if_range_matches(if_range: str | None, tag: str) -> bool:
    """Tell whether a part may be answered: the client has the rest of the same bytes.

    Args:
        if_range: the header, if there is one; a date or a weak tag is not good enough.
        tag: of the answer.
    """
    return if_range is None or if_range.strip(" \t") == tag
