"""The Makefile's virtual environment: its Python, when it is recreated, and pip's settings."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("cat", "env", "sed", "sh", "sort")
ANEW = "Making a virtual environment with "

OLD = "#!/bin/sh\nexit 1\n"
"""A Python that is not new enough, or that is broken."""
NEW = '#!/bin/sh\ncase "$*" in *"pip install"*) env >environment ;; esac\n'
"""A Python for which every program succeeds, and that keeps the environment of pip."""


def write_program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for PATH with the required tools and an old python3."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in NEEDED:
        tool = shutil.which(name)
        assert tool
        (folder / name).symlink_to(tool)
    write_program(folder / "python3", OLD)
    return folder


def found(*folders: Path) -> str:
    """Return the Python that the Makefile finds on a PATH."""
    environment = {"PATH": ":".join(map(str, folders))}
    command = [shutil.which("sh") or "sh", str(ROOT / "systemd" / "find_python.sh")]
    return subprocess.check_output(command, env=environment, text=True, timeout=30).strip()


def test_no_python(path: Path) -> None:
    """Without a Python that is new enough none is found."""
    write_program(path / "python3.10", OLD)
    assert found(path) == ""


def test_python3_is_preferred(path: Path) -> None:
    """python3 is used if it is new enough."""
    write_program(path / "python3", NEW)
    write_program(path / "python3.14", NEW)
    assert found(path) == "python3"


def test_the_newest_python(path: Path, tmp_path: Path) -> None:
    """If python3 is too old, the newest Python of all directories is used."""
    write_program(path / "python3.11", NEW)
    write_program(tmp_path / "python3.9", NEW)
    write_program(tmp_path / "python3.27", NEW)
    write_program(tmp_path / "python3.30", OLD)
    write_program(tmp_path / "python3.99-config", NEW)
    assert found(path, tmp_path) == "python3.27"


@pytest.fixture
def checkout(tmp_path: Path, program: Callable[[str], str]) -> Path:
    """A checkout with a complete virtual environment."""
    program("make")
    folder = tmp_path / "checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml", "systemd"):
        (folder / name).symlink_to(ROOT / name)
    write_program(folder / ".venv" / "bin" / "python", NEW)
    (folder / ".venv" / "created").write_text(f"{folder.resolve()}\n")
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> str:
    """Run make in a directory, and return its output."""
    return subprocess.check_output(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )


def test_help_lists_all_targets(checkout: Path) -> None:
    """`make help` has a line for each target, and all descriptions begin in one column."""
    lines = make(checkout, "help").splitlines()
    targets = re.findall(r"^\.PHONY: ([a-z -]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in lines} == set(" ".join(targets).split()) - {"help"}
    assert all(re.match(r"make [a-z-]+ +$", line[:21]) and line[21] != " " for line in lines)


@pytest.mark.parametrize("target", ["run", "test", "fuzz"])
def test_a_sound_environment_is_kept(checkout: Path, target: str) -> None:
    """The environment is kept if neither directory nor Python has changed."""
    assert ANEW not in make(checkout, "--dry-run", target)


@pytest.mark.parametrize("target", ["run", "test", "fuzz"])
def test_a_moved_folder(checkout: Path, target: str) -> None:
    """The environment is recreated after a move, because its programs contain the old path."""
    moved = checkout.rename(checkout.with_name("moved"))
    assert ANEW in make(moved, "--dry-run", target)


@pytest.mark.parametrize("target", ["run", "test", "fuzz"])
def test_a_copied_folder(checkout: Path, target: str) -> None:
    """A copy does not run the code of the original directory."""
    copy = checkout.with_name("copy")
    shutil.copytree(checkout, copy, symlinks=True)
    assert ANEW in make(copy, "--dry-run", target)
    assert ANEW not in make(checkout, "--dry-run", target)


def test_environment_without_python_is_replaced(checkout: Path) -> None:
    """An environment without its Python, or with packages of another, is recreated."""
    python = checkout / ".venv" / "bin" / "python"
    write_program(python, OLD.replace("exit", "echo 'No module named pip'; exit"))
    assert ANEW in make(checkout, "--dry-run", "run")
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    assert ANEW in make(checkout, "--dry-run", "run")


def test_makefile_overrides_pip_settings(checkout: Path) -> None:
    """pip installs into the virtual environment, whatever its settings are."""
    elsewhere = {"PIP_TARGET": "/x", "PIP_PREFIX": "/x", "PIP_ROOT": "/x", "PYTHONPATH": "/x"}
    make(checkout, ".venv/installed", PIP_USER="1", **elsewhere)
    environment = (checkout / "environment").read_text().splitlines()
    assert "PIP_USER=0" in environment
    names = {line.partition("=")[0] for line in environment}
    assert not names & elsewhere.keys()
