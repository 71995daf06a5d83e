"""Manifests and checksums as bytes."""

import json

import pytest

from fibclient.export.manifest import (
    Manifest,
    PartRecord,
    checksum_line,
    parse_checksum_line,
)
from fibclient.export.plan import ExportPlan

PLAN = ExportPlan.of(0, 100, "csv", 3)
RECORDS = tuple(PartRecord(part, part.size or 0, "0f" * 32) for part in PLAN.parts)
MANIFEST = Manifest(PLAN, RECORDS)


def test_manifest_survives_json() -> None:
    """A manifest that is written and read is the same."""
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    empty = Manifest(ExportPlan.of(3, 3, "json"), ())
    assert Manifest.from_json(empty.to_json()) == empty


def test_manifest_is_documented() -> None:
    """The names in the manifest are those of docs/export.md."""
    values = json.loads(MANIFEST.to_json())
    assert list(values) == ["version", "sequence", "start", "stop", "format", "size", "parts"]
    assert list(values["parts"][0]) == ["name", "start", "stop", "size", "sha256"]
    assert values["size"] == sum(record.size for record in RECORDS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff", "codec"),
        (b"{}", "no manifest"),
        (b"[]", "no manifest"),
        (b'{"version": 2}', "its version is 2, expected 1"),
        (MANIFEST.to_json().replace(b"csv", b"cvs"), "no manifest"),
        (MANIFEST.to_json().replace(b'"start": 0', b'"start": "x"'), "invalid literal"),
        (MANIFEST.to_json().replace(b"fib-000000000", b"../../etc"), "names of its parts"),
    ],
)
def test_invalid_manifest_is_rejected(data: bytes, reason: str) -> None:
    """Anything else raises an error with the reason."""
    with pytest.raises(ValueError, match=reason):
        Manifest.from_json(data)


def test_checksum_lines() -> None:
    """A checksum is read back for its own part only, and only if it is whole."""
    record = RECORDS[0]
    line = checksum_line(record)
    assert parse_checksum_line(line, record.part.name) == record.sha256
    assert parse_checksum_line(line, RECORDS[1].part.name) is None
    for damaged in (b"", line[:-1], line[1:], line.upper(), b"\xff" + line[1:]):
        assert parse_checksum_line(damaged, record.part.name) is None
