"""Podman with storage, networks and settings of its own, so that a test leaves nothing behind.

The settings are those that a machine inside of another one needs: it cannot raise its limits as
far as podman does by default, and Debian's crun does not run on mixed versions of control groups.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from platform import freedesktop_os_release
from typing import Any

from tests.conftest import missing
from tests.support.waiting import wait_until

__all__ = ["RESTRICTIONS", "Container", "Podman", "private_podman"]

ROOT = Path(__file__).parents[2]
NEEDED = ("podman", "runc", "mmdebstrap", "iptables")
COMMAND_SECONDS = 600
"""Timeout of a command, such as a build while other tests run."""

BASE = "localhost/debian"
RESTRICTIONS = (
    *("--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop=all", "--security-opt=no-new-privileges"),
)
"""What the image must work with: nothing writable but /dev/shm, and no capability."""

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_config_dir = "{folder}/networks"
"""

_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class Container:
    """A container that runs.

    Attributes:
        name: Its name.
    """

    def __init__(self, podman: "Podman", name: str) -> None:
        """Refer to a container by its name."""
        self._podman = podman
        self.name = name

    def address(self) -> str:
        """Return its IPv4 address in the network of the tests."""
        networks = self._state("NetworkSettings")["Networks"]
        address: str = networks[self._podman.network]["IPAddress"]
        return address

    def execute(self, *command: str) -> str:
        """Run a command in it, and return its output."""
        return self._podman.run("exec", self.name, *command)

    def is_healthy(self) -> bool:
        """Whether its health check succeeds now."""
        return self._podman.succeeds("healthcheck", "run", self.name)

    def logs(self) -> str:
        """Return its log, of both outputs."""
        return self._podman.run("logs", self.name)

    def pid(self) -> int:
        """Return the id of its first process on this machine."""
        pid: int = self._state("State")["Pid"]
        return pid

    def wait_for_log(self, text: str) -> None:
        """Wait until the log contains a text."""
        wait_until(lambda: text in self.logs(), f"{text!r} in the log")

    def exit_code(self) -> int:
        """Return the exit code; that of a container that was killed is 137."""
        code: int = self._state("State")["ExitCode"]
        return code

    def stop(self, seconds: int = 10) -> None:
        """Send the stop signal; kill it if it has not ended after some seconds."""
        self._podman.run("stop", "--time", str(seconds), self.name)

    def remove(self) -> None:
        """Kill it, if it runs, and remove it."""
        self._podman.run("rm", "--force", "--time", "0", "--volumes", self.name)

    def _state(self, key: str) -> Any:
        return json.loads(self._podman.run("inspect", self.name))[0][key]


class Podman:
    """A podman with storage of its own.

    Attributes:
        network: Name of a network for containers.
        version: Version in the labels of the image.
        environment: Environment variables with which `podman` uses that storage.
    """

    network = "fibservice-tests"
    version = "1.2.3"

    def __init__(self, folder: Path) -> None:
        """Write the settings.

        Args:
            folder: Directory for everything.
        """
        self._folder = folder
        self._numbers = itertools.count()
        self._python_version = ""
        (folder / "containers.conf").write_text(_CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(_STORAGE_CONF.format(folder=folder))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            # The format with health checks, for all that calls `podman build`.
            "BUILDAH_FORMAT": "docker",
        }

    def run(self, *arguments: str) -> str:
        """Run `podman` with arguments, and return its output, standard error included."""
        return self._call(arguments)

    def succeeds(self, *arguments: str) -> bool:
        """Whether `podman` with arguments succeeds."""
        return self._finish(arguments).returncode == 0

    def _call(self, arguments: Sequence[str], sockets: Sequence[socket.socket] = ()) -> str:
        finished = self._finish(arguments, sockets)
        assert finished.returncode == 0, f"podman {' '.join(arguments)}: {finished.stdout}"
        return finished.stdout

    def _finish(
        self, arguments: Sequence[str], sockets: Sequence[socket.socket] = ()
    ) -> "subprocess.CompletedProcess[str]":
        command = ["podman", "--log-level=fatal", *arguments]
        descriptors = [each.fileno() for each in sockets]
        if sockets:
            listed = ",".join(map(str, descriptors))
            command = [sys.executable, "-m", "tests.support.socket_passing", listed, *command]
        # A file, since a container keeps the standard error of the program that started it.
        with tempfile.TemporaryFile("w+") as output:
            finished = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=ROOT,
                pass_fds=descriptors,
                timeout=COMMAND_SECONDS,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, finished.returncode, output.read())

    def start(
        self,
        image: str,
        *command: str,
        options: Sequence[str] = (),
        sockets: Sequence[socket.socket] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Container:
        """Start a restricted container, and return it; the caller removes it.

        Args:
            image: Name of the image.
            command: Command; by default that of the image.
            options: Further options of `podman run`.
            sockets: Listening sockets to pass, as systemd does.
            environment: Environment variables of the container.
        """
        name = f"container-{next(self._numbers)}"
        variables = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        self._call(
            [
                "run",
                "--detach",
                "--name",
                name,
                *RESTRICTIONS,
                *variables,
                *options,
                image,
                *command,
            ],
            sockets,
        )
        return Container(self, name)

    @contextmanager
    def container(
        self,
        image: str,
        *command: str,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Container]:
        """Run a container until the context ends; the arguments are those of `start`."""
        container = self.start(image, *command, options=options, environment=environment)
        try:
            yield container
        except BaseException:
            print(container.logs()[-4000:])
            raise
        finally:
            container.remove()

    def import_base(self) -> None:
        """Import an image of Debian with Python as `BASE`.

        Its files are kept in the user's cache: downloading and installing them takes minutes.
        """
        suite = freedesktop_os_release()["VERSION_CODENAME"]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fibservice")
        archive = cache / f"debian-{suite}.tar"
        if not archive.exists():
            cache.mkdir(parents=True, exist_ok=True)
            part = archive.with_suffix(".part.tar")
            make = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-venv"]
            subprocess.run([*make, suite, str(part)], timeout=2 * COMMAND_SECONDS, check=True)
            part.rename(archive)
        with tarfile.open(archive) as files:
            link = files.getmember("./usr/bin/python3").linkname
        self._python_version = link.removeprefix("python")
        self.run("import", str(archive), BASE)

    def build(self, tag: str) -> None:
        """Build the image of this repository from `BASE`, without a network.

        What pip needs is downloaded outside, with the settings of this machine.

        Args:
            tag: Name of the image.
        """
        wheels = self._folder / "wheels"
        if not wheels.exists():
            self._download(wheels)
        settings = self._folder / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        offline = ["--network=none", f"--volume={wheels}:/wheels:ro"]
        secret = f"--secret=id=pip.conf,src={settings}"
        arguments = [
            f"--build-arg=BASE={BASE}",
            f"--build-arg=VERSION={self.version}",
            "--tag",
            tag,
        ]
        file = ROOT / "deploy" / "container" / "Containerfile"
        self.run("build", *offline, secret, *arguments, "--file", str(file), str(ROOT))

    def _download(self, wheels: Path) -> None:
        source = self._folder / "source"
        listing = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for name in filter(None, listing.split("\0")):
            if (ROOT / name).exists():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, source / name)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        download += ["--python-version", self._python_version, "--dest", str(wheels)]
        download += [f"{source}[all,srv,zstd]", *project["build-system"]["requires"], "wheel"]
        subprocess.run(download, timeout=COMMAND_SECONDS, check=True)

    def clean_up(self) -> None:
        """Remove all containers, volumes, networks and images."""
        for command in (
            ("rm", "--all", "--force", "--time", "0", "--volumes"),
            ("volume", "prune", "--force"),
            ("network", "prune", "--force"),
            ("rmi", "--all", "--force"),
        ):
            self.run(*command)


@contextmanager
def private_podman(program: Callable[[str], str]) -> Iterator[Podman]:
    """Make storage for podman that is removed at the end of the context.

    Args:
        program: Fixture that checks for a program.
    """
    if os.geteuid() != 0:
        missing("root, for podman in a machine inside of another one")
    for each in NEEDED:
        program(each)
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))
    podman = Podman(folder)
    try:
        podman.run("network", "create", Podman.network)
        podman.import_base()
        yield podman
    finally:
        podman.clean_up()
        shutil.rmtree(folder)
