"""The commands of docs/install.md lead from nothing to a running service."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.shipping.packages import ROOT, Packages, copy_repository, run
from tests.support.fibweb_process import READY
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until
from tests.systemd.guide import files
from tests.systemd.machine import SOURCE, BootedMachine, booted

DOCUMENT = ROOT / "docs" / "install.md"
URL = "https://example.org/fibservice.git"
MAX_COMMANDS = 3
INSTALL_SECONDS = 900
"""Timeout of an installation on a busy machine."""


def ways() -> dict[str, list[list[str]]]:
    """Return the commands of each section: a list for each block, which is a way by itself."""
    found: dict[str, list[list[str]]] = {}
    for section in DOCUMENT.read_text().split("\n## ")[1:]:
        blocks = re.findall(r"(?:^    \$ .+\n)+", section, re.MULTILINE)
        commands = [re.findall(r"^    \$ (.+)$", block, re.MULTILINE) for block in blocks]
        found[section.partition("\n")[0]] = commands
    return found


def test_ways_are_short() -> None:
    """Each way has at most three commands."""
    blocks = [block for section in ways().values() for block in section]
    assert len(blocks) > 5
    assert max(map(len, blocks)) <= MAX_COMMANDS


@pytest.fixture
def variables(packages: Packages, tmp_path: Path) -> dict[str, str]:
    """Environment of a new user, who finds these packages and this repository at their addresses.

    HOME is empty; the only Git repository is a copy of this one, and ports are free ones.
    """
    home, source = tmp_path / "home", tmp_path / "fibservice.git"
    home.mkdir()
    copy_repository(source)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "a"]):
        run("git", *command, cwd=source)
    return packages.variables | {
        "HOME": str(home),
        "PATH": f"{home}/.local/bin:{os.environ['PATH']}",
        "FIBWEB_LISTEN": "127.0.0.1:0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{source}.insteadOf",
        "GIT_CONFIG_VALUE_0": URL,
    }


@contextmanager
def followed(commands: list[str], folder: Path, variables: dict[str, str]) -> Iterator[str]:
    """Run commands, of which the last one serves; yield its URL, and stop it with Ctrl-C."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = folder / "log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["sh", "-ec", "\n".join(commands)],
            cwd=folder,
            env=inherited | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []
    try:
        for _ in range(20):  # an installation takes longer than a start
            try:
                wait_until(
                    lambda: shell.poll() is not None or bool(READY.search(log.read_text())),
                    "the service is ready",
                )
                break
            except AssertionError:
                continue
        ready = READY.search(log.read_text())
        assert ready, log.read_text()
        family = psutil.Process(shell.pid).children(recursive=True)
        yield ready[1]
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGINT)
        shell.wait(60)
        _, alive = psutil.wait_procs(family, 60)
        assert not alive


def is_served(url: str) -> bool:
    """Return whether a service returns the first numbers."""
    with urlopen(f"{url}/fib/10", timeout=30) as response:
        return bool(json.load(response)["result"][-1] == "34")


@pytest.mark.parametrize(
    ("section", "block"),
    [
        ("A checkout", 0),
        ("Without installing", 0),
        ("Without installing", 1),
        ("Pip", 0),
        ("A tool", 0),
    ],
)
def test_way_to_fibweb(
    section: str, block: int, variables: dict[str, str], tmp_path: Path
) -> None:
    """The commands end with a service, which Ctrl-C stops."""
    with followed(ways()[section][block], tmp_path, variables) as url:
        assert is_served(url)


def test_way_to_the_library(
    server: RunningServer, variables: dict[str, str], tmp_path: Path
) -> None:
    """The commands end with the first ten numbers."""
    (commands,) = ways()["The client library"]
    script = "\n".join(commands).replace("127.0.0.1:11235", server.address)
    printed = run("sh", "-ec", script, cwd=tmp_path, environment=variables)
    assert printed.splitlines()[-1] == "[0, 1, 1, 2, 3, 5, 8, 13, 21, 34]"


@pytest.fixture
def host(program: Callable[[str], str]) -> Iterator[BootedMachine]:
    """A booted machine with a copy of this repository at its address."""
    with booted(program, "fib-package") as machine:
        identity = "-c user.name=a -c user.email=a@example.org"
        commit = f"git init -q && git add -A && git {identity} commit -qm a"
        machine.run("sh", "-c", f"cd {SOURCE} && {commit}")
        machine.run("git", "config", "--global", f"url.{SOURCE}.insteadOf", URL)
        machine.run("git", "config", "--global", "--replace-all", "safe.directory", "*")
        yield machine


def follow_as_root(machine: BootedMachine, commands: list[str], links: str = "") -> None:
    """Run commands on a machine; all but those of systemd and apt have a network, for pip."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    pip["PIP_FIND_LINKS"] = f"{pip.get('PIP_FIND_LINKS', '')} {links}".strip()
    for command in commands:
        is_online = not command.startswith(("systemctl", "apt-get"))
        step = ("sh", "-ec", f"cd /root; {command}")
        machine.run(*step, is_online=is_online, environment=pip, seconds=INSTALL_SECONDS)
    # The connection waits in the backlog of systemd's socket.
    assert '"34"]}' in machine.run("curl", "-sS", "http://127.0.0.1:8080/fib/10")


def test_way_of_the_debian_package(host: BootedMachine, program: Callable[[str], str]) -> None:
    """The package is free of errors, serves once installed, and leaves nothing when purged."""
    program("lintian")
    (commands,) = ways()["A Debian package"]
    before = files(host)
    follow_as_root(host, commands)
    package = host.run("sh", "-c", "ls /root/fibservice/dist/*.deb").strip()
    host.run("lintian", "--no-cfg", "--allow-root", "--fail-on", "error", package)
    assert host.property("fibweb.service", "ActiveState") == "active"
    host.run("apt-get", "install", "--yes", "--reinstall", package)
    assert '"34"]}' in host.run("curl", "-sS", "http://127.0.0.1:8080/fib/10")
    host.run("apt-get", "purge", "--yes", "fibservice")
    assert not host.succeeds("systemctl", "cat", "fibserver.service")
    left = {path for path in files(host) - before if not path.startswith("/root")}
    assert left == set()


def test_way_of_the_installer_of_a_package(packages: Packages, host: BootedMachine) -> None:
    """The installer of a package fetches the same version, and serves."""
    (commands,) = ways()["The installer of a package"]
    host.run("mkdir", "/root/dist")
    place = f"/root/dist/{packages.wheel.name}"
    with packages.wheel.open("rb") as wheel:
        copy = [*host.entering(), "sh", "-c", f"cat >{place}"]
        subprocess.run(copy, stdin=wheel, check=True, timeout=60)
    follow_as_root(host, commands, links="/root/dist")
    uninstall = commands[1].removesuffix(" install")
    host.run("sh", "-ec", f"cd /root; {uninstall} uninstall")
    assert not host.succeeds("test", "-e", "/opt/fib")
