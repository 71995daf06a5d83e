"""The sdist and the wheel: complete, reproducible, and installed with each extra."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import fibcommon
from tests.shipping.packages import (
    ROOT,
    Environment,
    Packages,
    build,
    copy_repository,
    repository_files,
    run,
)
from tests.support.fibweb_process import READY, get
from tests.support.servers import RunningServer, direct_client

NAME = f"fibservice-{fibcommon.__version__}"
SHARE = f"{NAME}.data/data/share/fibservice"


def test_metadata_is_valid(packages: Packages) -> None:
    """`twine check --strict` has no objection: PyPI shows the README."""
    output = run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    assert output.count("PASSED") == 2


def test_names_have_the_version(packages: Packages) -> None:
    """The version of the packages is that of the code."""
    assert packages.sdist.name == f"{NAME}.tar.gz"
    assert packages.wheel.name == f"{NAME}-py3-none-any.whl"


def test_builds_are_reproducible(packages: Packages, tmp_path: Path) -> None:
    """Another copy, with other times and other permissions of others, has the same bytes."""
    source = tmp_path / "elsewhere"
    copy_repository(source)
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(path.stat().st_mode & 0o700)
    again = build(source, tmp_path / "dist")
    assert again.sdist.read_bytes() == packages.sdist.read_bytes()
    assert again.wheel.read_bytes() == packages.wheel.read_bytes()


def test_sdist_has_all_files(packages: Packages) -> None:
    """The sdist has every file of the repository, and besides them only metadata."""
    with tarfile.open(packages.sdist) as archive:
        members = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    metadata = {name for name in members if name.startswith("fibservice.egg-info/")}
    if (ROOT / ".git").exists():
        assert members - metadata == {*repository_files(), "PKG-INFO"}
    assert {"docs/client.md", "systemd/fibweb.service", "tests/conftest.py"} < members


def test_wheel_has_the_data(packages: Packages) -> None:
    """The wheel has all files of the packages, and units and examples as data."""
    with zipfile.ZipFile(packages.wheel) as archive:
        members = set(archive.namelist())
    for folder in ("fibclient", "fibcommon", "fibserver", "fibweb"):
        expected = {name for name in files(folder) if not name.endswith((".pyc", "~"))}
        assert expected <= members
    expected = {f"{SHARE}/{name}" for folder in ("systemd", "deploy") for name in files(folder)}
    assert expected == {name for name in members if name.startswith(SHARE)}
    assert f"{NAME}.dist-info/licenses/LICENSE" in members


def files(folder: str) -> set[str]:
    """Return the files below a folder of the repository."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}


def test_sdist_and_wheel_install_the_same(packages: Packages, tmp_path: Path) -> None:
    """A wheel built from the unpacked sdist is the one that was built beside it."""
    run("tar", "-x", "-f", packages.sdist, "-C", tmp_path)
    again = build(tmp_path / NAME, tmp_path / "dist")
    assert again.wheel.read_bytes() == packages.wheel.read_bytes()


def test_tests_run_from_the_sdist(packages: Packages, tmp_path: Path) -> None:
    """Tests of the unpacked sdist pass with the files in it."""
    run("tar", "-x", "-f", packages.sdist, "-C", tmp_path)
    tests = ["tests/setup/test_extras.py", "tests/fibcommon", "tests/fibclient/test_cache.py"]
    chosen = [each for each in tests if (ROOT / each).exists()]
    run(sys.executable, "-m", "pytest", "-q", *chosen, cwd=tmp_path / NAME)


@pytest.fixture(scope="module")
def bare(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, without any extra."""
    environment = Environment(tmp_path_factory.mktemp("bare") / "venv")
    environment.install(packages.wheel)
    return environment


def test_client_library_has_no_dependency(bare: Environment) -> None:
    """`pip install fibservice` installs nothing else, and `import fibclient` works."""
    assert bare.distributions() == {"fibservice"}
    code = "import fibclient, fibserver, fibweb; print(fibclient.__version__)"
    assert bare.run("python", "-c", code) == f"{fibcommon.__version__}\n"


def test_client_library_reaches_a_server(bare: Environment, server: RunningServer) -> None:
    """The library works without any dependency."""
    code = f"from fibclient import FibClient; print(FibClient({server.address!r}).first(5))"
    assert bare.run("python", "-c", code) == "[0, 1, 1, 2, 3]\n"


@pytest.mark.parametrize(
    ("command", "extra"), [("fibclient", "cli"), ("fibserver", "server"), ("fibweb", "web")]
)
def test_commands_name_their_extra(bare: Environment, command: str, extra: str) -> None:
    """Without its extra, a command prints one line that names it, and exits with 2."""
    path = bare.path / "bin" / command
    done = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{command} needs ")
    assert done.stderr.endswith(f": pip install 'fibservice[{extra}]'\n")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def with_extra(
    packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """Return a function that returns an environment with one extra, installed once."""
    made: dict[str, Environment] = {}

    def install(extra: str) -> Environment:
        if extra not in made:
            made[extra] = Environment(tmp_path_factory.mktemp(extra) / "venv")
            made[extra].install(f"fibservice[{extra}] @ {packages.wheel.as_uri()}")
        return made[extra]

    return install


def test_cli_extra(with_extra: Callable[[str], Environment], server: RunningServer) -> None:
    """The extra `cli` is all that each command of fibclient needs."""
    run_client = with_extra("cli")
    listed = run_client.run("fibclient", "--server", server.address, "range", "5", "8")
    assert listed.split() == ["5", "8", "13"]
    for command in ("ping", "info", "doctor"):
        assert run_client.run("fibclient", "--server", server.address, command)
    assert json.loads(run_client.run("fibclient", "-s", server.address, "number", "9", "--json"))


def test_server_extra(with_extra: Callable[[str], Environment], tmp_path: Path) -> None:
    """The extra `server` is all that fibserver needs, with metrics."""
    command = str(with_extra("server").path / "bin" / "fibserver")
    arguments = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--workers", "1"]
    server = RunningServer([command, *arguments], tmp_path / "log")
    with direct_client(server.address) as client:
        assert client.first(10)[-1] == 34
        assert client.info("server")["fibserver_version"] == fibcommon.__version__
    assert server.stop() == 0


def test_web_extra(
    with_extra: Callable[[str], Environment], server: RunningServer, tmp_path: Path
) -> None:
    """The extra `web` is all that fibweb needs: numbers, the page and metrics."""
    command = str(with_extra("web").path / "bin" / "fibweb")
    arguments = ["--listen", "127.0.0.1:0", "--servers", server.address]
    web = RunningServer([command, *arguments], tmp_path / "log", ready=READY)
    assert json.loads(get(web, "/fib/3"))["result"] == ["0", "1", "1"]
    assert b"<form" in get(web, "/")
    assert b"fibweb_build" in get(web, "/metrics")
    assert web.stop() == 0


def test_embedded_server_without_its_extra(
    with_extra: Callable[[str], Environment], tmp_path: Path
) -> None:
    """`fibweb --embedded` without the extra `server` names that."""
    command = with_extra("web").path / "bin" / "fibweb"
    done = subprocess.run(
        [command, "--embedded", "--listen", f"unix:{tmp_path}/socket"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "fibserver needs numpy: pip install 'fibservice[server]'" in done.stderr


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_all_extra(packages: Packages, tmp_path: Path, kind: str) -> None:
    """Wheel and sdist with the extra `all` run fibweb with a fibserver of its own."""
    environment = Environment(tmp_path / "venv")
    environment.install(f"fibservice[all] @ {getattr(packages, kind).as_uri()}")
    command = str(environment.path / "bin" / "fibweb")
    web = RunningServer(
        [command, "--embedded", "--listen", "127.0.0.1:0"], tmp_path / "log", ready=READY
    )
    assert json.loads(get(web, "/fib/3"))["result"] == ["0", "1", "1"]
    assert web.stop() == 0


def test_srv_extra(with_extra: Callable[[str], Environment]) -> None:
    """The extra `srv` has what SRV records need, and nothing else."""
    assert with_extra("srv").distributions() == {"fibservice", "dnspython"}


def test_workflow_is_valid() -> None:
    """The workflow for hosted CI follows the schema of such files."""
    schema = ["--builtin-schema", "vendor.github-workflows"]
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    run(sys.executable, "-m", "check_jsonschema", *schema, workflow)
    text = workflow.read_text()
    assert "run: .ci/run" in text
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f'"{version}"' in text
