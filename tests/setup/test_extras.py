"""Extras: the client library needs nothing, and each command names the extra that it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fibclient
import fibcommon
import fibserver
import fibweb
from tests.setup.test_floors import read

ROOT = Path(__file__).parents[2]

RUN_WITHOUT = """
import sys
module, *missing = sys.argv[1:]
sys.modules |= dict.fromkeys(missing)  # importing these fails
sys.argv = [module, "--help"]
__import__(f"{module}.__main__")
sys.modules[f"{module}.__main__"].main()
"""


def packages(extra: str) -> list[str]:
    """Return the names of the distributions in an extra."""
    lines = read("setup.cfg")["options.extras_require"][extra].splitlines()
    return sorted(Requirement(line).name for line in lines if line[:1] not in ("", "#"))


def run_without(command: str, missing: list[str]) -> tuple[int, str]:
    """Run a command with `--help` and without some packages; return exit code and errors."""
    modules = [name.replace("-", "_") for name in missing]
    done = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT, command, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"), [("fibclient", "cli"), ("fibserver", "server"), ("fibweb", "web")]
)
def test_command_names_its_extra(command: str, extra: str) -> None:
    """Without any package of its extra, a command lists all of them and says how to get them."""
    missing = packages(extra)
    listed = f"{', '.join(missing[:-1])} and {missing[-1]}"
    expected = f"{command} needs {listed}: pip install 'fibservice[{extra}]'\n"
    assert run_without(command, missing) == (2, expected)


def test_command_lists_only_missing_packages() -> None:
    """An installed package of the extra is not listed."""
    expected = "fibserver needs numpy: pip install 'fibservice[server]'\n"
    assert run_without("fibserver", ["numpy"]) == (2, expected)


@pytest.mark.parametrize("name", ["fibweb import create_app", "fibweb.wsgi import application"])
def test_library_without_extra(name: str) -> None:
    """An import of the application fails with an ImportError that names the extra."""
    code = f"import sys; sys.modules['falcon'] = None; from {name}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    expected = "MissingExtra: fibweb needs falcon: pip install 'fibservice[web]'"
    assert done.stderr.splitlines()[-1].endswith(expected)


def test_each_package_has_the_version() -> None:
    """The version is that of the distribution in all packages."""
    assert {each.__version__ for each in (fibclient, fibserver, fibweb)} == {fibcommon.__version__}


def test_client_library_needs_only_the_standard_library() -> None:
    """`import fibclient` imports nothing from outside the standard library and this repository."""
    code = (
        "import sys; before = {*sys.modules}; import fibclient;"
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=60)
    ours = {"fibclient", "fibcommon"}
    assert {*output.split()} - sys.stdlib_module_names == ours
