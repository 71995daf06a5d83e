"""Formatting of INFO values for people; the name of a field implies its unit."""

from datetime import datetime

from fibclient.cli.render.units import duration_text, size_text

__all__ = ["format_value"]

_IDENTIFIERS = {"process_id", "tcp_port", "pid", "worker_pids"}
"""Fields whose numbers are not quantities."""


def format_value(name: str, value: str) -> str:
    """Return a value with its unit, or unchanged if it is not a quantity.

    Args:
        name: The name of the INFO field, such as `used_memory`.
        value: Its text.
    """
    # Longer numbers are not quantities, and int() rejects very long ones.
    if not (value.isascii() and value.isdigit() and len(value) <= 20) or name in _IDENTIFIERS:
        return value
    number = int(value)
    if name.endswith("_time_usec"):
        return _timestamp(number // 1_000_000)
    if name.endswith("_time"):
        return _timestamp(number) if number else "never"
    if "memory" in name or name.endswith("bytes"):
        return size_text(number)
    if name.endswith("_seconds"):
        return duration_text(number)
    return f"{number:,}"


def _timestamp(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:,} s since 1970"  # beyond the range of datetime
