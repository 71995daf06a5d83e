"""Sizes, rates and durations formatted for people."""

from fibcommon.units import size_text

__all__ = ["duration_text", "milliseconds_text", "rate_text", "size_text"]

_DURATIONS = ((86_400, "d"), (3600, "h"), (60, "min"))


def rate_text(amount: float, seconds: float) -> str:
    """Return a rate per second, such as `12,345/s`."""
    rate = amount / seconds if seconds > 0 else 0.0
    return f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.1f}/s"


def milliseconds_text(seconds: float) -> str:
    """Return a short duration in milliseconds to three digits, such as `0.0821 ms`."""
    milliseconds = seconds * 1000
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def duration_text(seconds: float) -> str:
    """Return a duration with its unit, such as `1.2 s` or `3 h`."""
    for size, unit in _DURATIONS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else milliseconds_text(seconds)
