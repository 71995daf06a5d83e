"""Sizes formatted for people."""

__all__ = ["exact_size_text", "size_text"]

_SIZES = ("kB", "MB", "GB")


def size_text(size_bytes: float) -> str:
    """Return a size with its unit, such as `434.1 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in _SIZES:
        size_bytes /= 1000
        # A value that rounds to 1000.0 belongs to the next unit.
        if size_bytes < 999.95:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1000:,.1f} TB"


def exact_size_text(size_bytes: int) -> str:
    """Return a size with its unit and the number of bytes, such as `1.5 kB (1500 bytes)`."""
    exact = f"{size_bytes} bytes"
    return exact if size_bytes < 1000 else f"{size_text(size_bytes)} ({exact})"
