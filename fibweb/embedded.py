"""A fibserver of one's own: started on a private Unix socket, ended with this process.

fibweb does not import fibserver; it runs its command, as an operator would.
"""

import ctypes
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fibclient import FibClient, ServerUnreachable

__all__ = ["EmbeddedServerError", "embedded_server"]

START_SECONDS = 30
STOP_SECONDS = 15

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class EmbeddedServerError(Exception):
    """The embedded fibserver did not start."""


@contextmanager
def embedded_server() -> Iterator[str]:
    """Run a fibserver; the value is its address.

    Raises:
        EmbeddedServerError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fibweb-") as folder:
        address = f"unix:{Path(folder, 'fibserver.sock')}"
        process = subprocess.Popen(
            [sys.executable, "-m", "fibserver", "--listen", address],
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for fibweb, which then ends its server.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            _wait_until_ready(process, address)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, even by kill -9 (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with FibClient(address, max_retries=0) as client:
                return client.ping()
        except ServerUnreachable as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServerError("the embedded fibserver did not start") from error
            time.sleep(0.02)
