"""Facts and figures of INFO as people read them: what a number counts is told by its name."""

from datetime import datetime

from fibclient.cli.render.units import duration_text, size_text

__all__ = ["readable"]

_IDENTIFIERS = {"process_id", "tcp_port", "pid", "worker_pids"}
"""Numbers that count nothing."""


def readable(name: str, value: str) -> str:
    """Return a value in words that suit it; as it is if there are none.

    Args:
        name: as INFO has it, such as `used_memory`.
        value: the text behind it.
    """
    # What is longer is no figure of a machine; int() would refuse the longest.
    if not (value.isascii() and value.isdigit() and len(value) <= 20) or name in _IDENTIFIERS:
        return value
    number = int(value)
    if name.endswith("_time_usec"):
        return _moment(number // 1_000_000)
    if name.endswith("_time"):
        return _moment(number) if number else "never"
    if "memory" in name or name.endswith("bytes"):
        return size_text(number)
    if name.endswith("_seconds"):
        return duration_text(number)
    return f"{number:,}"


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:,} s since 1970"  # a clock that is far off
