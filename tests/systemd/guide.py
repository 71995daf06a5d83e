"""Execution of the guide in docs/operations.md on a machine."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.systemd.machine import REPOSITORY, SOURCE, BootedMachine, booted

__all__ = ["Guided", "files", "followed", "guide"]

GUIDE = REPOSITORY / "docs" / "operations.md"
URL = "https://example.org/fibservice.git"
ONLINE = ("apt-get", "git", "make")
"""Commands that need a network."""

STEP = """
cd "$(cat /root/folder 2>/dev/null || echo /root)"
eval "$1"
pwd >/root/folder
"""
"""Runs a command of the guide in the directory where the previous one ended."""


def guide() -> list[str]:
    """Return the commands of the guide."""
    return re.findall(r"^    \$ (.+)$", GUIDE.read_text(), re.MULTILINE)


def files(machine: BootedMachine) -> set[str]:
    """Return all files whose names contain `fib`."""
    places = ["/etc", "/opt", "/usr/local", "/usr/share", "/var", "/run", "/dev/shm"]
    found = machine.run("find", *places, "-name", "*fib*", check=False).splitlines()
    # Other tests create hosts below /etc/netns, which the overlay shows.
    elsewhere = ("find:", "/etc/netns/")
    return {line for line in found if not line.startswith(elsewhere)}


class Guided(BootedMachine):
    """A machine on which the guide was followed.

    Attributes:
        before: Files with `fib` in their names before the guide.
        outputs: Output of each command.
    """

    before: set[str]
    outputs: list[str]


@contextmanager
def followed(program: Callable[[str], str]) -> Iterator[Guided]:
    """Boot a machine and follow the guide; power it off at the end of the context.

    Args:
        program: Fixture that checks for a program.
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
        machine.outputs = [_follow(machine, command) for command in guide()]
        yield machine


def _follow(machine: BootedMachine, command: str) -> str:
    """Run a command of the guide."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    is_online = command.startswith(ONLINE)
    step = ["sh", "-ec", STEP, "sh", command]
    return machine.run(*step, is_online=is_online, environment=environment)
