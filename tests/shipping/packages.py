"""Packages of this repository, and environments that they are installed into."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "ROOT",
    "Environment",
    "Packages",
    "build",
    "copy_repository",
    "repository_files",
    "run",
]

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 600
COMMIT_TIME = "1700000000"
"""Time of the commit, in seconds since 1970."""

GENERATED = ("__pycache__", "*.egg-info", ".tox", ".venv", ".*_cache", "node_modules")
"""Patterns of files that are not of the repository, in an unpacked sdist."""


class Packages(NamedTuple):
    """Paths of an sdist and a wheel in one folder."""

    sdist: Path
    wheel: Path

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which pip, pipx and uv find them, besides the usual index."""
        folder = str(self.wheel.parent)
        links = " ".join(filter(None, (os.environ.get("PIP_FIND_LINKS"), folder)))
        uv = ",".join(filter(None, (os.environ.get("UV_FIND_LINKS"), folder)))
        return {"PIP_FIND_LINKS": links, "UV_FIND_LINKS": uv}


def run(
    *command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command outside of this repository, and return its output; fail if it fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [str(each) for each in command],
        cwd=cwd or ROOT.anchor,
        env={**inherited, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if finished.returncode:
        raise AssertionError(f"{command} exited with {finished.returncode}: {finished.stdout}")
    return finished.stdout


def repository_files() -> list[str]:
    """Return the files of this repository, those that are not committed yet included."""
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return sorted({name for name in listing.split("\0") if name and (ROOT / name).exists()})


def copy_repository(folder: Path) -> None:
    """Copy the files of this repository, without generated ones."""
    if not (ROOT / ".git").exists():  # an unpacked sdist
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*GENERATED))
        return
    for name in repository_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def build(source: Path, folder: Path) -> Packages:
    """Build an sdist, and a wheel from it."""
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(source)]
    run(*command, environment={"SOURCE_DATE_EPOCH": COMMIT_TIME})
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Packages(sdist, wheel)


class Environment:
    """A virtual environment with nothing but pip and what is installed into it.

    Attributes:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        """Create it."""
        self.path = path
        run(sys.executable, "-m", "venv", path)

    def install(self, *requirements: str | Path) -> None:
        """Install requirements with pip."""
        self.run("python", "-m", "pip", "install", "--quiet", *requirements)

    def distributions(self) -> set[str]:
        """Return the names of what is installed, pip and setuptools excepted."""
        listing = self.run("python", "-m", "pip", "list", "--format", "freeze")
        names = {line.partition("==")[0] for line in listing.splitlines() if "==" in line}
        return names - {"pip", "setuptools"}

    def run(self, command: str, *arguments: str | Path) -> str:
        """Run a command of the environment, and return its output; fail if it fails."""
        return run(self.path / "bin" / command, *arguments)
