"""Formatting of INFO values: for people, with the unit that a name implies, and for JSON."""

import re
from datetime import datetime

from fibclient.cli.render.units import duration_text, size_text
from fibcommon.info import parse_fields

__all__ = ["format_value", "json_value"]

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?", re.ASCII)
"""Texts with leading zeros are identifiers, and int() rejects very long ones."""

_LISTS = {"worker_pids"}
"""Fields that have any number of values, separated by commas."""

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


def json_value(name: str, value: str) -> object:
    """Return a value for JSON: a number, a list, an object of its parts, or the text itself.

    Args:
        name: The name of the INFO field.
        value: Its text.
    """
    if name in _LISTS:
        return [json_value("", part) for part in value.split(",") if part]
    parts = {} if value.startswith("/") else parse_fields(value)  # a path may have a "="
    if parts:
        return {part: json_value(part, text) for part, text in parts.items()}
    # Version 1.10 is not the number 1.1.
    if name.endswith("version") or not _NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


def _timestamp(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:,} s since 1970"  # beyond the range of datetime
