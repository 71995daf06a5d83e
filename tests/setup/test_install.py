"""The installer in unusual environments; tests/systemd has complete installations."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = r"""#!/bin/sh
case "$*" in
"-m venv "*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    echo "home = $3" >"$3/pyvenv.cfg"
    ;;
*"pip install"*)
    env >"$ENVIRONMENT"
    ;;
*write_help.py*)
    exec "$REAL_PYTHON" "$@"
    ;;
esac
"""
"""A Python whose pip installs nothing, since the program is there already."""


def install(tmp_path: Path, *, under: Sequence[str] = (), **environment: str) -> str:
    """Run the installer with a Python that downloads nothing, and return its output."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    given = {"PATH": os.environ["PATH"], "PYTHON": str(python), "REAL_PYTHON": sys.executable}
    return subprocess.check_output(
        [*under, "sh", "systemd/install.sh", "install"],
        cwd=ROOT,
        env={**given, **environment, "ENVIRONMENT": str(tmp_path / "environment")},
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("folder", [".", "/nowhere:.", str(ROOT)])
def test_installer_ignores_cdpath(tmp_path: Path, folder: str) -> None:
    """CDPATH does not affect the installer."""
    install(tmp_path, DESTDIR=str(tmp_path / "root"), CDPATH=folder)
    assert (tmp_path / "root/usr/local/lib/systemd/system/fibserver.service").exists()


def test_man_pages_ignore_terminal_width(tmp_path: Path) -> None:
    """The width of man pages does not depend on the terminal."""
    install(tmp_path, DESTDIR=str(tmp_path / "root"), COLUMNS="40")
    page = (tmp_path / "root/usr/local/share/man/man1/fibweb.1").read_text()
    assert 70 < max(map(len, page.replace("\\", "").splitlines())) <= 80


def test_installer_overrides_pip_settings(tmp_path: Path) -> None:
    """pip installs all requirements into the release, whatever its settings are."""
    elsewhere = {"PIP_TARGET": "/x", "PIP_PREFIX": "/x", "PIP_ROOT": "/x", "PYTHONPATH": "/x"}
    install(tmp_path, DESTDIR=str(tmp_path / "root"), PIP_USER="1", **elsewhere)
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "PIP_USER=0" in environment
    assert not {line.partition("=")[0] for line in environment} & elsewhere.keys()


def test_installer_ignores_modules_in_working_directory(tmp_path: Path) -> None:
    """Python does not import modules from root's working directory."""
    install(tmp_path, DESTDIR=str(tmp_path / "root"))
    assert "PYTHONSAFEPATH=1" in (tmp_path / "environment").read_text().splitlines()


HOST = (
    "mount -t tmpfs none /opt && mkdir /opt/upper /opt/work && "
    "mount -t overlay -o lowerdir=/etc,upperdir=/opt/upper,workdir=/opt/work none /etc && "
    "mount -t tmpfs none /run"
)
"""What an installation writes goes to memory, and systemd does not run."""


def test_without_systemd(tmp_path: Path, mounting: Callable[[str], list[str]]) -> None:
    """Without systemd the installer reports that, and how to start the services."""
    printed = install(tmp_path, under=mounting(HOST), PREFIX=str(tmp_path / "local"))
    assert "systemd does not run here" in printed
    assert f"{tmp_path}/local/bin/fibweb --embedded" in printed
    assert "To run it:" not in printed
