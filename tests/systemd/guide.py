"""The guide in docs/operations.md, followed on a machine."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.systemd.machine import REPOSITORY, SOURCE, BootedMachine, booted

__all__ = ["Guided", "files", "followed", "guide"]

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


def files(machine: BootedMachine) -> set[str]:
    """Return all files that may be ours, by their names."""
    places = ["/etc", "/opt", "/usr/local", "/usr/share", "/var", "/run", "/dev/shm"]
    found = machine.run("find", *places, "-name", "*fib*", check=False).splitlines()
    # Hosts of other tests come and go below it, and are seen through.
    elsewhere = ("find:", "/etc/netns/")
    return {line for line in found if not line.startswith(elsewhere)}


class Guided(BootedMachine):
    """A machine on which somebody has followed the guide.

    Attributes:
        before: the files that were there before.
        said: what each of the commands printed.
    """

    before: set[str]
    said: list[str]


@contextmanager
def followed(program: Callable[[str], str]) -> Iterator[Guided]:
    """Boot a machine and follow the guide there; it ends with the context.

    Args:
        program: the fixture.
    """
    for each in ("prometheus", "promtool", "prometheus-alertmanager", "git"):
        program(each)
    with booted(program, "fib-machine") as bare:
        machine = Guided(bare.leader)
        machine.before = files(machine)
        commit = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm a"
        machine.run("sh", "-c", f"cd {SOURCE} && {commit}")
        machine.run("git", "config", "--global", f"url.{SOURCE}.insteadOf", URL)
        machine.run("git", "config", "--global", "--replace-all", "safe.directory", "*")
        machine.said = [_follow(machine, command) for command in guide()]
        yield machine


def _follow(machine: BootedMachine, command: str) -> str:
    """Run a command of the guide."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    is_online = command.startswith(ONLINE)
    step = ["sh", "-ec", STEP, "sh", command]
    return machine.run(*step, is_online=is_online, environment=environment)
