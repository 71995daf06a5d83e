"""The guide in docs/operations.md, an upgrade under load, and what is left at the end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.systemd.machine import REPOSITORY, SOURCE, Machine, booted
from tests.waiting import wait_until

pytestmark = pytest.mark.xdist_group("installation")

GUIDE = REPOSITORY / "docs" / "operations.md"
URL = "https://example.org/fibservice.git"
ONLINE = ("apt-get", "git", "make")
"""Commands that download."""

STEP = """
cd "$(cat /root/folder 2>/dev/null || echo /root)"
eval "$1"
pwd >/root/folder
"""
"""Each command of the guide begins where the one before has ended."""


def guide() -> list[str]:
    """Return the commands of the guide."""
    return re.findall(r"^    \$ (.+)$", GUIDE.read_text(), re.MULTILINE)


def files(machine: Machine) -> set[str]:
    """Return all files that may be ours, by their names."""
    places = ["/etc", "/opt", "/usr/local", "/usr/share", "/var", "/run", "/dev/shm"]
    found = machine.run("find", *places, "-name", "*fib*", check=False).splitlines()
    # Hosts of other tests come and go below it, and are seen through.
    elsewhere = ("find:", "/etc/netns/")
    return {line for line in found if not line.startswith(elsewhere)}


class Guided(Machine):
    """A machine on which somebody has followed the guide.

    Attributes:
        before: the files that were there before.
        said: what each of the commands printed.
    """

    before: set[str]
    said: list[str]


@pytest.fixture(scope="module")
def machine(program: Callable[[str], str]) -> Iterator[Guided]:
    """A machine with all that the guide brings, and nothing else."""
    for each in ("prometheus", "promtool", "prometheus-alertmanager", "git"):
        program(each)
    with booted(program, "fib-installation") as bare:
        machine = Guided(bare.leader)
        machine.before = files(machine)
        commit = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm a"
        machine.run("sh", "-c", f"cd {SOURCE} && {commit}")
        machine.run("git", "config", "--global", f"url.{SOURCE}.insteadOf", URL)
        machine.run("git", "config", "--global", "safe.directory", "*")
        machine.said = [follow(machine, command) for command in guide()]
        yield machine


def follow(machine: Machine, command: str) -> str:
    """Run a command of the guide."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    is_online = command.startswith(ONLINE)
    step = ["sh", "-ec", STEP, "sh", command]
    return machine.run(*step, is_online=is_online, environment=environment)


def test_the_guide(machine: Guided) -> None:
    """Eleven commands lead to a service that answers, and that Prometheus watches."""
    assert len(machine.said) == 11
    said = dict(zip(guide(), machine.said, strict=True))

    def answer(word: str) -> str:
        return next(text for command, text in said.items() if word in command)

    assert json.loads(answer("/fib/10"))["result"][-1] == "34"
    assert "354224848179261915075" in answer("FIB.NUMBER")
    assert "127.0.0.1:11235" in answer("doctor")
    # On this machine, which has no private address, the last command shows all that is up.
    shown = re.findall(r'^up\{.*job="(\w+)"\} => 1 @', machine.said[-1], re.MULTILINE)
    assert sorted(shown) == ["alertmanager", "fibserver", "fibweb", "prometheus"]
    rules = machine.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/rules")
    assert "FibserverDown" in rules
    managers = "http://127.0.0.1:9090/api/v1/alertmanagers"
    wait_until(lambda: ":9093/" in machine.run("curl", "-sS", managers), "the Alertmanager")


def test_upgrade_and_uninstall(machine: Guided) -> None:
    """An upgrade under load loses no request; an uninstallation leaves what the user wrote."""
    machine.write("/etc/fib/fibweb.toml", machine.read("/etc/fib/fibweb.toml") + "\nthreads = 5\n")
    load = [sys.executable, "-m", "tests.systemd.load", "8080"]
    within = ["nsenter", "-t", str(machine.leader), "-n"]
    before = machine.run("readlink", "/opt/fib/bin")
    with subprocess.Popen(
        [*within, *load], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as clients:
        try:
            assert "Kept /etc/fib/fibweb.toml" in machine.make("install")
            for _ in range(3):
                machine.run("systemctl", "restart", "fibserver", "fibweb")
            said, _ = clients.communicate(timeout=60)
        finally:
            clients.kill()
    figures = json.loads(said)
    print(f"{figures['answered']} requests answered during an upgrade")
    assert figures["failures"] == [], machine.run("journalctl", "-n", "60", "--no-pager")
    assert figures["answered"] > 1000
    assert machine.run("readlink", "/opt/fib/bin") != before
    assert "threads = 5" in machine.read("/etc/fib/fibweb.toml")
    assert len(machine.run("ls", "/opt/fib/releases").split()) == 2

    machine.make("uninstall")
    left = files(machine) - machine.before
    mine = {"/etc/fib", "/etc/fib/fibweb.toml"}
    assert {path for path in left if "prometheus" not in path} == mine
    assert not machine.succeeds("getent", "group", "fib")
    assert not machine.succeeds("systemctl", "cat", "fibserver.service")
    assert not machine.succeeds("pgrep", "-f", "/opt/fib")
