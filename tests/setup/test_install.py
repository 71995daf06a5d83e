"""The installer in unusual environments; tests/systemd has complete installations."""

import os
import shutil
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
    echo "$*" >"$ENVIRONMENT.arguments"
    ;;
*write_help.py*)
    exec "$REAL_PYTHON" "$@"
    ;;
esac
"""
"""A Python whose pip installs nothing, since the program is there already."""


def install(
    tmp_path: Path, source: Path = ROOT, /, *, under: Sequence[str] = (), **environment: str
) -> str:
    """Run the installer with a Python that downloads nothing, and return its output."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    given = {"PATH": os.environ["PATH"], "PYTHON": str(python), "REAL_PYTHON": sys.executable}
    return subprocess.check_output(
        [*under, "sh", "systemd/install.sh", "install"],
        cwd=source,
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


def test_installer_installs_all_extras(tmp_path: Path) -> None:
    """Commands have all that they need."""
    install(tmp_path, DESTDIR=str(tmp_path / "root"))
    assert (tmp_path / "environment.arguments").read_text().endswith("[all]\n")


def test_installer_of_a_package(tmp_path: Path) -> None:
    """The installer in a virtual environment has pip fetch the version that is installed there."""
    share = tmp_path / "venv" / "share" / "fibservice"
    shutil.copytree(ROOT / "systemd", share / "systemd")
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 1.2.3\n")
    python.chmod(0o755)
    install(tmp_path, share, DESTDIR=str(tmp_path / "root"))
    arguments = (tmp_path / "environment.arguments").read_text()
    assert arguments.endswith(" fibservice[all] == 1.2.3\n")


def test_installer_without_a_package(tmp_path: Path) -> None:
    """Without a checkout and without a virtual environment, the installer says what it lacks."""
    shutil.copytree(ROOT / "systemd", tmp_path / "elsewhere" / "systemd")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        install(tmp_path, tmp_path / "elsewhere", DESTDIR=str(tmp_path / "root"))
    assert "install it into a virtual environment" in failure.value.output
    assert not list((tmp_path / "root/opt/fib/releases").iterdir())


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
