"""Program that passes sockets to another one like systemd.

    python -m tests.support.socket_passing 7,9 fibserver --workers 1

runs the command with descriptors 7 and 9 as its descriptors 3 and 4, and with the environment
variables that announce them to its process.
"""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.servers import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]
FIRST_DESCRIPTOR = 3
OUT_OF_THE_WAY = 100


def run_with_sockets(
    command: list[str], *sockets: socket.socket, names: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a command with passed sockets until it exits.

    Args:
        command: Program and arguments.
        sockets: Sockets to pass.
        names: Their names, separated by colons.
    """
    descriptors = [sock.fileno() for sock in sockets]
    listed = ",".join(map(str, descriptors))
    return subprocess.run(
        [sys.executable, "-m", "tests.support.socket_passing", listed, *command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        pass_fds=descriptors,
        cwd=ROOT,
        env={**os.environ, "LISTEN_FDNAMES": names},
    )


def main() -> None:
    """Execute the command on the command line."""
    descriptors = [int(text) for text in sys.argv[1].split(",")]
    # First out of the way, since one may have the number that another is to get.
    far = [
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)
        for descriptor in descriptors
    ]
    for number, descriptor in enumerate(far, FIRST_DESCRIPTOR):
        os.dup2(descriptor, number)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(far))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
