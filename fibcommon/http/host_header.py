"""The Host header of HTTP requests, as far as servers must check it (RFC 9112, 3.2)."""

import re

__all__ = ["is_valid_host"]

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[^\[\]\s/]+\]|"
    r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""RFC 3986, 3.2.2, and a port."""


def is_valid_host(value: str) -> bool:
    """Return whether the value of a Host header is a name or an address, with or without a port.

    Args:
        value: without white space around it. It may be empty: a URL need not name a host.
    """
    return _HOST.fullmatch(value) is not None
