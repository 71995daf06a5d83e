"""Manifest of an export: its parts with their ranges, sizes and SHA-256 checksums, as JSON."""

import json
from typing import NamedTuple

from fibclient.export.plan import ExportPlan, PlannedPart

__all__ = ["MANIFEST_NAME", "Manifest", "PartRecord", "checksum_line", "parse_checksum_line"]

MANIFEST_NAME = "manifest.json"

VERSION = 1
"""Version of the manifest's own format."""


class PartRecord(NamedTuple):
    """A file that was written.

    Attributes:
        part: What it contains.
        size: Size in bytes.
        sha256: SHA-256 of its contents, in hexadecimal.
    """

    part: PlannedPart
    size: int
    sha256: str


class Manifest(NamedTuple):
    """All files of a complete export.

    Attributes:
        plan: The plan.
        records: A record for each of its parts, in the same order.
    """

    plan: ExportPlan
    records: tuple[PartRecord, ...]

    @property
    def size(self) -> int:
        """Total size of the parts in bytes."""
        return sum(record.size for record in self.records)

    def to_json(self) -> bytes:
        """Return the contents of the file; equal for equal manifests."""
        values = {
            "version": VERSION,
            "sequence": "A000045",
            "start": self.plan.start,
            "stop": self.plan.stop,
            "format": self.plan.format_name,
            "size": self.size,
            "parts": [
                {
                    "name": record.part.name,
                    "start": record.part.start,
                    "stop": record.part.stop,
                    "size": record.size,
                    "sha256": record.sha256,
                }
                for record in self.records
            ],
        }
        return json.dumps(values, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return the manifest with these contents.

        Raises:
            ValueError: The contents are not a manifest of this version.
        """
        try:
            values = json.loads(data)
            version = values["version"]
            if version != VERSION:
                raise ValueError(f"its version is {version}, expected {VERSION}")
            format_name = values["format"]
            records = tuple(
                PartRecord(
                    PlannedPart(format_name, int(entry["start"]), int(entry["stop"])),
                    int(entry["size"]),
                    str(entry["sha256"]),
                )
                for entry in values["parts"]
            )
            # Files are looked up by the names of the plan.
            if [entry["name"] for entry in values["parts"]] != [
                each.part.name for each in records
            ]:
                raise ValueError("the names of its parts do not match their ranges")
            start, stop = int(values["start"]), int(values["stop"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no manifest of an export: {error!r}") from error
        plan = ExportPlan(format_name, start, stop, tuple(record.part for record in records))
        return cls(plan, records)


def checksum_line(record: PartRecord) -> bytes:
    """Return the contents of the file beside a part: a line that `sha256sum --check` reads."""
    return f"{record.sha256}  {record.part.name}\n".encode()


def parse_checksum_line(data: bytes, name: str) -> str | None:
    """Return the checksum in such a line, or None if it is not one for the part `name`."""
    checksum, _, rest = data.decode("ascii", "replace").partition("  ")
    is_hexadecimal = len(checksum) == 64 and set(checksum) <= set("0123456789abcdef")
    return checksum if is_hexadecimal and rest == f"{name}\n" else None
