"""Record of the files with which the shipping tests last passed.

`python -m tests.shipping.record` exits with 0 if those files are unchanged since then; with
`--write` it records them as they are now. A selection of tests after `--write` means that only
those have passed: nothing is recorded.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["digest"]

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("passed")

COVERED = (
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "compose.yaml",
    "deploy/container",
    "deploy/debian",
    "deploy/kubernetes",
    "deploy/prometheus",
    "docs/install.md",
    "fibclient/export",
    "fibcommon/__init__.py",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "systemd",
    "tests/shipping",
    "tox.ini",
)
"""Files and folders that decide how the service is packaged; those that are absent count too."""


def digest() -> str:
    """Return the SHA-256 of the names and contents of all covered files, in hexadecimal."""
    total = hashlib.sha256()
    for path in _files():
        data = path.read_bytes()
        total.update(f"{path.relative_to(ROOT)} {len(data)}\n".encode() + data)
    return total.hexdigest()


def _files() -> Iterator[Path]:
    for name in COVERED:
        path = ROOT / name
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and each != RECORD and "__pycache__" not in each.parts:
                yield each


if __name__ == "__main__":
    if "--write" in sys.argv:
        if sys.argv[-1] == "--write":
            RECORD.write_text(f"{digest()}\n")
    else:
        sys.exit(not RECORD.exists() or RECORD.read_text().strip() != digest())
