"""A fibweb that can go away and come back at the same address."""

import re
import sys
from pathlib import Path

from tests.servers import RunningServer

READY = re.compile(r"ready on (http://[^\s/,]+)")

__all__ = ["Site"]


class Site:
    """A fibweb process, or none for a while.

    Attributes:
        url: where it is, now and later.
    """

    def __init__(self, folder: Path, servers: str) -> None:
        """Start one on a free port.

        Args:
            folder: for its logs.
            servers: the fibservers to ask.
        """
        self._folder = folder
        self._servers = servers
        self._starts = 0
        self._process = self._run("127.0.0.1:0")
        self.url = self._process.address

    def _run(self, listen: str) -> RunningServer:
        self._starts += 1
        command = [sys.executable, "-m", "fibweb", "--listen", listen, "--servers", self._servers]
        return RunningServer(command, self._folder / f"fibweb-{self._starts}.log", ready=READY)

    def stop(self) -> None:
        """End it: SIGTERM must suffice."""
        assert self._process.stop() == 0

    def start(self) -> None:
        """Start it again at the same address."""
        self._process = self._run(self.url.removeprefix("http://"))
