"""Several hosts on one machine: network namespaces on a bridge that can be disconnected.

    client ─┐
         a ─┤
         b ─┼─ bridge
         c ─┘

The bridge is in a namespace of its own. The packets of a disconnected host are dropped, as by a
dead switch: connections are neither refused nor reset.
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
"""Host name that resolves to the addresses of all servers."""


class Host:
    """One host.

    Attributes:
        name: Name, such as "a".
        address: IP address.
    """

    def __init__(self, namespace: str, name: str, address: str, hub: str, cable: str) -> None:
        """Refer to a host that exists.

        Args:
            namespace: Its network namespace.
            name: Name, such as "a".
            address: IP address.
            hub: Network namespace of the bridge.
            cable: Name of its interface at the bridge.
        """
        self.name = name
        self.address = address
        self._namespace = namespace
        self._hub = hub
        self._cable = cable

    def command(self, *args: str) -> list[str]:
        """Return the command line that runs a command on this host."""
        return ["ip", "netns", "exec", self._namespace, *args]

    def disconnect(self) -> None:
        """Drop all packets to and from this host."""
        _ip("-n", self._hub, "link", "set", self._cable, "down")

    def reconnect(self) -> None:
        """Undo `disconnect`."""
        _ip("-n", self._hub, "link", "set", self._cable, "up")

    @contextmanager
    def running(self, *args: str, ready: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a program on this host; yield it once its log contains `ready`."""
        with tempfile.TemporaryDirectory(prefix="bench-host-") as folder:
            log = Path(folder, "log")
            # If a signal arrives before `child` is assigned, the kernel kills the program.
            command = ["setpriv", "--pdeathsig", "KILL", *self.command(*args)]
            with log.open("wb") as out:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            try:
                wait_for(child, log, lambda: ready in log.read_text())
                yield child
            finally:
                child.kill()
                child.wait()


class Network:
    """Hosts on one bridge.

    Attributes:
        client: Host of the load generator.
        hosts: Hosts of the servers.
    """

    def __init__(self, client: Host, hosts: list[Host]) -> None:
        """Collect hosts that exist."""
        self.client = client
        self.hosts = hosts


@contextmanager
def network() -> Iterator[Network]:
    """Create the hosts, and remove them at the end."""
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
        # `ip netns exec` mounts this file over /etc/hosts.
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
    # Registered first: a signal may arrive at any time.
    stack.callback(_remove_namespace, name)
    _ip("netns", "add", name)


def _remove_namespace(name: str) -> None:
    if Path("/run/netns", name).exists():
        _ip("netns", "delete", name)


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, timeout=30)
