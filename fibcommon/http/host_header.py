"""Validation of the Host header (RFC 9112, section 3.2)."""

import re

__all__ = ["is_valid_host"]

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[^\[\]\s/]+\]|"
    r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::([0-9]{0,5}))?"
)
"""A host (RFC 3986, section 3.2.2) and optionally a port."""


def is_valid_host(value: str) -> bool:
    """Whether the value of a Host header is valid: a name or an address, optionally with a port.

    Args:
        value: Value without surrounding white space. It may be empty, as a URL may have no host.
    """
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or 0) < 65536
