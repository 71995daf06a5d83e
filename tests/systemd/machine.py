"""Container that boots systemd on an overlay over the files of this host, without a network.

Its mounts are in a namespace of their own, so they end with its last process, however the test
ends. Its writes go to memory.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.conftest import missing
from tests.support.waiting import wait_until

__all__ = ["SOURCE", "BootedMachine", "booted"]

REPOSITORY = Path(__file__).parents[2]
SOURCE = "/usr/src/fibservice"
"""Path of the copy of this repository on the machine."""

COMMAND_SECONDS = 300
"""Timeout of a command, such as an installation while other tests run."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NEEDED = ("systemd-nspawn", "nsenter", "setpriv", "unshare", "redis-cli", "curl", "make")

# Services of packages of this host, which must not run unless a test starts them.
UNWANTED = (
    *("nginx", "haproxy", "redis-server", "prometheus", "prometheus-alertmanager"),
    *("prometheus-node-exporter", "apache2", "ssh", "cron", "docker", "containerd"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_reap"),
)

_BOOT = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -rf "$1/root/opt/fib" "$1/root/etc/fib"
mkdir -p "$1/root/etc/systemd/system"
for unit in $3; do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    rm -f "$1/root/etc/systemd/system/"*".wants/$unit"
done
exec systemd-nspawn --quiet --directory="$1/root" --boot --register=no --keep-unit \\
    --private-network --machine="$2" --console=pipe
"""


class BootedMachine:
    """A booted machine.

    Attributes:
        leader: Process id of its first process on this host.
    """

    def __init__(self, leader: int) -> None:
        """Refer to a machine by its first process."""
        self.leader = leader

    def run(
        self,
        *command: str,
        check: bool = True,
        is_online: bool = False,
        environment: Mapping[str, str] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> str:
        """Run a command on the machine, and return its output, standard error included.

        Args:
            command: Program and arguments.
            check: Whether to fail if the command fails.
            is_online: Whether it runs in the network of this host, for downloads.
            environment: Environment variables to set.
            seconds: Timeout.
        """
        finished = subprocess.run(
            [*self.entering(is_online=is_online, environment=environment), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and finished.returncode:
            raise AssertionError(f"{command} failed: {finished.stdout}")
        return finished.stdout

    def entering(
        self, *, is_online: bool = False, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the prefix that runs a command on the machine."""
        namespaces = ["-m", "-u", "-i", "-p"] + ([] if is_online else ["-n"])
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(environment or {})}
        settings = [f"{name}={value}" for name, value in variables.items()]
        enter = ["nsenter", "-t", str(self.leader), *namespaces]
        return [*enter, "env", "-i", "-C", "/", *settings]

    def succeeds(self, *command: str) -> bool:
        """Return whether a command succeeds."""
        finished = subprocess.run(
            [*self.entering(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return finished.returncode == 0

    def make(self, target: str) -> str:
        """Run make in the copy of this repository."""
        online = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return self.run("make", "-C", SOURCE, target, is_online=True, environment=online)

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        command = [*self.entering(), "tee", path]
        subprocess.run(
            command, input=text, stdout=subprocess.DEVNULL, text=True, check=True, timeout=10
        )

    def read(self, path: str) -> str:
        """Return the content of a file."""
        return self.run("cat", path)

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str, *arguments: str) -> str:
        """Return the log messages of a unit, without timestamps."""
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager", *arguments)

    def copy_repository(self) -> None:
        """Copy this repository to the machine, without ignored files."""
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
            timeout=COMMAND_SECONDS,
        )
        self.run("mkdir", "-p", SOURCE)
        with subprocess.Popen(
            ["tar", "-c", "--null", "--ignore-failed-read", "-T", "-"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as pack:
            assert pack.stdin is not None
            pack.stdin.write(listing.stdout)
            pack.stdin.close()
            unpack = [*self.entering(), "tar", "-x", "--no-same-owner", "-C", SOURCE]
            subprocess.run(unpack, stdin=pack.stdout, check=True, timeout=COMMAND_SECONDS)


@contextmanager
def booted(program: Callable[[str], str], name: str) -> Iterator[BootedMachine]:
    """Boot a machine, and power it off at the end of the context.

    Args:
        program: Fixture that checks for a program.
        name: Name of the machine.
    """
    if os.geteuid() != 0:
        missing("root, to boot a machine")
    for each in NEEDED:
        program(each)
    with tempfile.TemporaryDirectory(prefix="machine-") as folder, tempfile.TemporaryFile() as log:
        boot = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount"]
        boot += ["sh", "-c", _BOOT, "sh", folder, name, " ".join(UNWANTED)]
        with subprocess.Popen(boot, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as nspawn:
            try:
                machine = BootedMachine(_leader(nspawn))
                wait_until(lambda: _has_booted(machine), "the machine has booted")
                machine.copy_repository()
                yield machine
            except BaseException:
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:])
                raise
            finally:
                _power_off(nspawn)


def _leader(nspawn: "subprocess.Popen[bytes]") -> int:
    """Wait for the first process of the machine, and return it."""
    process = psutil.Process(nspawn.pid)

    def leaders() -> list[psutil.Process]:
        if nspawn.poll() is not None:
            raise AssertionError(f"the machine did not start: code {nspawn.returncode}")
        return [child for child in process.children() if _name(child) in ("systemd", "init")]

    wait_until(lambda: bool(leaders()), "the machine's first process")
    return leaders()[0].pid


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:  # a process that made the mounts has ended
        return ""


def _has_booted(machine: BootedMachine) -> bool:
    state = machine.run("systemctl", "is-system-running", check=False).strip()
    return state in ("running", "degraded")  # degraded: a service of this host does not work there


def _power_off(nspawn: "subprocess.Popen[bytes]") -> None:
    """Power off a machine; kill it if that takes too long."""
    family = psutil.Process(nspawn.pid).children(recursive=True) if nspawn.poll() is None else []
    nspawn.send_signal(signal.SIGTERM)  # which systemd-nspawn passes on as a request to power off
    try:
        nspawn.wait(30)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
