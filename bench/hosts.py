"""Several hosts on one machine: network namespaces on a bridge, whose cables can be pulled.

    client ─┐
         a ─┤
         b ─┼─ bridge
         c ─┘

The bridge is in a namespace of its own. Pulling a host's cable drops its packets without a word,
as a dead switch does: nothing is refused, nothing is reset.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from servers import wait_for

__all__ = ["CLIENT", "NAMES", "Host", "Network", "network"]

CLIENT = "client"
NAMES = ("a", "b", "c")
SUBNET = "10.77.0"
SERVICE = "fibservers.test"
"""The name that leads to all of the hosts."""


class Host:
    """One host.

    Attributes:
        name: such as a.
        address: its IP address.
    """

    def __init__(self, namespace: str, name: str, address: str, hub: str, cable: str) -> None:
        """Describe a host.

        Args:
            namespace: its network namespace.
            name: what people call it.
            address: its IP address.
            hub: the namespace of the bridge.
            cable: the bridge's end of its cable.
        """
        self.name = name
        self.address = address
        self._namespace = namespace
        self._hub = hub
        self._cable = cable

    def command(self, *words: str) -> list[str]:
        """Return a command as it is to be run there."""
        return ["ip", "netns", "exec", self._namespace, *words]

    def pull(self) -> None:
        """Drop all packets to it and from it."""
        _ip("-n", self._hub, "link", "set", self._cable, "down")

    def plug(self) -> None:
        """Let packets through again."""
        _ip("-n", self._hub, "link", "set", self._cable, "up")

    @contextmanager
    def running(self, *words: str, ready: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a program there until the context ends; it is given once its log says something."""
        with tempfile.TemporaryDirectory(prefix="bench-host-") as folder:
            log = Path(folder, "log")
            # A signal may come before the child is known here: then it ends with this process.
            command = ["setpriv", "--pdeathsig", "KILL", *self.command(*words)]
            with log.open("wb") as out:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            try:
                wait_for(child, log, lambda: ready in log.read_text())
                yield child
            finally:
                child.kill()
                child.wait()


class Network:
    """Hosts that reach each other.

    Attributes:
        client: the host that asks.
        hosts: those that answer.
    """

    def __init__(self, client: Host, hosts: list[Host]) -> None:
        self.client = client
        self.hosts = hosts


@contextmanager
def network() -> Iterator[Network]:
    """Make hosts, and remove them with the context."""
    mark = f"fib{os.getpid()}"
    hub = f"{mark}-hub"
    with ExitStack() as stack:
        _namespace(stack, hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        made = [
            _host(stack, mark, hub, name, f"{SUBNET}.{number}")
            for number, name in enumerate((CLIENT, *NAMES), start=1)
        ]
        # `ip netns exec` shows a namespace's programs its own /etc/hosts.
        own = Path("/etc/netns", f"{mark}-{CLIENT}")
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        own.mkdir(parents=True)
        lines = [f"{host.address} {SERVICE}\n" for host in made[1:]]
        (own / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
        yield Network(made[0], made[1:])


def _host(stack: ExitStack, mark: str, hub: str, name: str, address: str) -> Host:
    namespace, cable = f"{mark}-{name}", f"to-{name}"
    _namespace(stack, namespace)
    cables = ["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace]
    _ip("-n", hub, *cables)
    _ip("-n", hub, "link", "set", cable, "master", "bridge", "up")
    _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    return Host(namespace, name, address, hub, cable)


def _namespace(stack: ExitStack, name: str) -> None:
    # First of all: a signal may come at any time.
    stack.callback(_remove_namespace, name)
    _ip("netns", "add", name)


def _remove_namespace(name: str) -> None:
    if Path("/run/netns", name).exists():
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)
