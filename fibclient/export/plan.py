"""Plan of an export: the range, the name and the size of each part.

The plan depends on the arguments of the export alone, not on who writes the parts, nor on how
many do so at once.
"""

from typing import NamedTuple

from fibclient.connections.encoded_slice import EncodedSlice
from fibcommon.formats import FORMATS

__all__ = ["EXPORT_FORMATS", "ExportPlan", "PlannedPart"]

PART_BYTES = 1_000_000_000
"""Largest size of a part by default: few files, but little to repeat after a crash."""

INDEX_DIGITS = 9
"""Width of the indices in names, so that names sort like their ranges up to F(10^9)."""

_SUFFIXES = {
    "json": "json",
    "text": "txt",
    "csv": "csv",
    "ndjson": "ndjson",
    "bfile": "b.txt",
    "binary": "bin",
    "parquet": "parquet",
}

EXPORT_FORMATS = tuple(_SUFFIXES)
"""Names of the formats: those of a slice, and Parquet."""


class PlannedPart(NamedTuple):
    """A file of an export.

    Attributes:
        format_name: One of `EXPORT_FORMATS`.
        start: Index of the first number.
        stop: Index to stop before, > start.
    """

    format_name: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the file, such as `fib-000000000-000001000.csv`."""
        width, suffix = INDEX_DIGITS, _SUFFIXES[self.format_name]
        return f"fib-{self.start:0{width}}-{self.stop:0{width}}.{suffix}"

    @property
    def slice(self) -> EncodedSlice:
        """The numbers as they are requested; for Parquet, in the `text` format."""
        return EncodedSlice.of(self.start, self.stop, _requested_format(self.format_name))

    @property
    def opening(self) -> bytes:
        """Bytes before the slice."""
        return b"[" if self.format_name == "json" else b""

    @property
    def closing(self) -> bytes:
        """Bytes after the slice."""
        return b"]\n" if self.format_name == "json" else b""

    @property
    def requested_size(self) -> int:
        """Number of bytes to request."""
        return self.slice.size

    @property
    def size(self) -> int | None:
        """Size of the file in bytes; None for Parquet, whose size compression decides."""
        if self.format_name == "parquet":
            return None
        return len(self.opening) + self.requested_size + len(self.closing)


class ExportPlan(NamedTuple):
    """The parts of an export.

    Attributes:
        format_name: One of `EXPORT_FORMATS`.
        start: Index of the first number.
        stop: Index to stop before, >= start.
        parts: The parts, by range.
    """

    format_name: str
    start: int
    stop: int
    parts: tuple[PlannedPart, ...]

    @classmethod
    def of(cls, start: int, stop: int, format_name: str, count: int | None = None) -> "ExportPlan":
        """Return the plan for a range.

        Args:
            start: Index of the first number, >= 0.
            stop: Index to stop before, >= start.
            format_name: One of `EXPORT_FORMATS`.
            count: Number of parts of about equal size, >= 1; there are fewer if there are fewer
                numbers. By default, as many as keep each within `PART_BYTES`.

        Raises:
            ValueError: The range is invalid.
        """
        whole = EncodedSlice.of(start, stop, _requested_format(format_name))
        slices = whole.parts(count or max(1, -(-whole.size // PART_BYTES)))
        parts = tuple(PlannedPart(format_name, each.start, each.stop) for each in slices)
        return cls(format_name, start, stop, parts)

    @property
    def requested_size(self) -> int:
        """Number of bytes to request for all parts."""
        return sum(part.requested_size for part in self.parts)


def _requested_format(format_name: str) -> str:
    return format_name if format_name in FORMATS else "text"
