"""A fibweb process that tests stop and start again at the same address."""

import copy
import re
import sys
from pathlib import Path

from tests.support.servers import RunningServer

READY = re.compile(r"ready on (http://[^\s/,]+)")

__all__ = ["ServedPage"]


class ServedPage:
    """A fibweb process that can be stopped and started again.

    Attributes:
        url: Its URL, which stays the same.
        servers: Fibservers that it uses.
    """

    def __init__(self, folder: Path, servers: str, *options: str) -> None:
        """Start the process on a free port.

        Args:
            folder: Folder for its logs.
            servers: Fibservers that it uses.
            options: Further options of the command.
        """
        self._folder = folder
        self.servers = servers
        self._options = options
        self._starts = 0
        self._process = self._run("127.0.0.1:0")
        self.url = self._process.address

    def _run(self, listen: str) -> RunningServer:
        self._starts += 1
        command = [sys.executable, "-m", "fibweb", "--listen", listen, "--servers", self.servers]
        command += self._options
        return RunningServer(command, self._folder / f"fibweb-{self._starts}.log", ready=READY)

    def seen_at(self, url: str) -> "ServedPage":
        """Return the same site at the URL of a proxy."""
        seen = copy.copy(self)
        seen.url = url
        return seen

    def stop(self) -> None:
        """Stop the process with SIGTERM."""
        assert self._process.stop() == 0

    def start(self) -> None:
        """Start the process again at the same address."""
        self._process = self._run(self.url.removeprefix("http://"))
