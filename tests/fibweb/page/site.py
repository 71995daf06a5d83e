"""A fibweb that can go away and come back at the same address."""

import copy
import re
import sys
from pathlib import Path

from tests.support.servers import RunningServer

READY = re.compile(r"ready on (http://[^\s/,]+)")

__all__ = ["ServedPage"]


class ServedPage:
    """A fibweb process, or none for a while.

    Attributes:
        url: where it is, now and later.
        servers: the fibservers that it asks.
    """

    def __init__(self, folder: Path, servers: str, root_path: str = "") -> None:
        """Start one on a free port.

        Args:
            folder: for its logs.
            servers: Fibservers that it uses.
            root_path: the path prefix that a proxy passes on.
        """
        self._folder = folder
        self.servers = servers
        self._root_path = root_path
        self._starts = 0
        self._process = self._run("127.0.0.1:0")
        self.url = self._process.address

    def _run(self, listen: str) -> RunningServer:
        self._starts += 1
        command = [sys.executable, "-m", "fibweb", "--listen", listen, "--servers", self.servers]
        command += ["--root-path", self._root_path]
        return RunningServer(command, self._folder / f"fibweb-{self._starts}.log", ready=READY)

    def seen_at(self, url: str) -> "ServedPage":
        """Return the same site, as a proxy has it at another URL."""
        seen = copy.copy(self)
        seen.url = url
        return seen

    def stop(self) -> None:
        """End it: SIGTERM must suffice."""
        assert self._process.stop() == 0

    def start(self) -> None:
        """Start it again at the same address."""
        self._process = self._run(self.url.removeprefix("http://"))
