"""Real load balancers with the configurations in deploy/: only addresses differ."""

import csv
import getpass
import grp
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.servers import DEADLINE_SECONDS
from tests.waiting import wait_until

__all__ = ["DEPLOY", "haproxy", "listening", "servers_checked", "servers_up", "tell"]

DEPLOY = Path(__file__).parents[2] / "deploy"


def listening(address: str) -> bool:
    """Tell whether somebody accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def haproxy(
    program: str, name: str, folder: Path, bind: str, variables: Mapping[str, str]
) -> Iterator[Path]:
    """Run HAProxy until the context ends; give its admin socket.

    Args:
        program: its path.
        name: of the configuration in deploy/haproxy.
        folder: for its log and socket.
        bind: HOST:PORT to listen on.
        variables: what the configuration is to be told, besides.
    """
    control = folder / f"{name}.sock"
    own = {"FIB_BIND": bind, "FIB_SOCKET": str(control)}
    own |= {"FIB_USER": getpass.getuser(), "FIB_GROUP": grp.getgrgid(os.getgid()).gr_name}
    environment = {**os.environ, **own, **variables}
    path = DEPLOY / "haproxy" / f"{name}.cfg"
    checked = subprocess.run(
        [program, "-c", "-f", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert checked.stdout == "Configuration file is valid\n", checked.stdout  # and no warning
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(
            [program, "-db", "-f", str(path)], env=environment, stdout=log, stderr=log
        ) as child,
    ):
        try:
            wait_until(lambda: listening(bind), "HAProxy listens")
            if "stats socket" in path.read_text():
                wait_until(control.exists, "HAProxy can be told something")
            yield control
        finally:
            child.terminate()
            child.wait(DEADLINE_SECONDS)


def tell(control: Path, command: str) -> str:
    """Give a command at the admin socket, and return what HAProxy says."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_SECONDS)
        sock.connect(str(control))
        sock.sendall(command.encode() + b"\n")
        return sock.makefile("rb").read().decode()


def servers_up(control: Path) -> set[str]:
    """Return the names of the servers that HAProxy sends requests to."""
    return {name for name, row in _servers(control).items() if row["status"].startswith("UP")}


def servers_checked(control: Path) -> set[str]:
    """Return the names of the servers whose last check went well; unlike an unchecked one."""
    return {
        name for name, row in _servers(control).items() if row["check_status"].endswith("L7OK")
    }


def _servers(control: Path) -> dict[str, dict[str, str]]:
    header, *rows = tell(control, "show stat").strip().splitlines()
    table = csv.DictReader([header.removeprefix("# "), *rows])
    return {row["svname"]: row for row in table if row["svname"] not in ("FRONTEND", "BACKEND")}
