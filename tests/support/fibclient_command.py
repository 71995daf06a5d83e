"""Runs the `fibclient` command with pipes or on a pseudo-terminal."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.support.waiting import DEADLINE_SECONDS

__all__ = ["COMMAND", "Screen", "Terminal", "fibclient", "on_terminal"]

COMMAND = [sys.executable, "-m", "fibclient"]

CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78=>]|\x1b\][^\x07]*\x07")

_DECIDED_BY_TESTS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "COLORTERM")
"""Variables that the command does not inherit, since they describe the tester's terminal."""


def fibclient(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command and capture its output.

    Args:
        arguments: The command-line arguments.
        environment: Additional environment variables.
    """
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=DEADLINE_SECONDS,
        check=False,
    )


class Screen(NamedTuple):
    """The output of a command on a terminal.

    Attributes:
        code: The exit code.
        raw: All output, with control sequences.
    """

    code: int
    raw: str

    @property
    def text(self) -> str:
        """The output without control sequences, with \\n as line ends."""
        return _plain(self.raw)

    @property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()


def on_terminal(
    *arguments: str, columns: int = 80, rows: int = 24, term: str = "xterm", **environment: str
) -> Screen:
    """Run the command on a new terminal until it exits.

    Args:
        arguments: The command-line arguments.
        columns: The terminal's width.
        rows: The terminal's height.
        term: The value of the variable TERM.
        environment: Additional environment variables.
    """
    with Terminal(
        *arguments, columns=columns, rows=rows, term=term, stdout=None, **environment
    ) as terminal:
        return terminal.wait()


class Terminal:
    """A pseudo-terminal on which the command runs.

    It is the command's controlling terminal, so that pressing Ctrl-C sends SIGINT.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        term: str = "xterm",
        stdout: IO[bytes] | None = None,
        command: Sequence[str] = COMMAND,
        **environment: str,
    ) -> None:
        """Start the command.

        Args:
            arguments: The command-line arguments.
            columns: The terminal's width.
            rows: The terminal's height.
            term: The value of the variable TERM.
            stdout: The file for standard output; None for the terminal.
            command: The command, without its arguments.
            environment: Additional environment variables.
        """
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in _DECIDED_BY_TESTS}
        self._child = subprocess.Popen(
            [*command, *arguments],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env={**inherited, "TERM": term, **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._deadline = time.monotonic() + DEADLINE_SECONDS
        self._raw = ""

    @property
    def text(self) -> str:
        """The output so far, without control sequences."""
        return _plain(self._raw)

    @property
    def process_id(self) -> int:
        """The process id of the command."""
        return self._child.pid

    @property
    def settings(self) -> list[object]:
        """The terminal's attributes, such as echo."""
        return termios.tcgetattr(self._master)

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._child.send_signal(number)

    def press(self, keys: str) -> None:
        """Press keys; Ctrl-C is "\\x03"."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the output contains `text`; fail if the command ends before."""
        while text not in self.text:
            if not self._receive():
                raise AssertionError(f"the command ended without {text!r}:\n{self.text}")

    def wait_for_raw(self, sequence: str, count: int) -> None:
        """Wait until the output contains a control sequence `count` times."""
        while self._raw.count(sequence) < count:
            if not self._receive():
                raise AssertionError(f"the command ended without {sequence!r}:\n{self.text}")

    def wait(self) -> Screen:
        """Wait for the command to exit."""
        while self._receive():
            pass
        return Screen(self._child.wait(DEADLINE_SECONDS), self._raw)

    def wait_unread(self) -> int:
        """Wait for the command to exit without reading its output; return the exit code."""
        return self._child.wait(DEADLINE_SECONDS)

    def _receive(self) -> bool:
        """Wait for output and return whether there was any before the end."""
        left = self._deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            raise AssertionError(f"no more output on the terminal:\n{self.text}")
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            data = b""  # on Linux, the last process has closed the terminal
        self._raw += self._decoder.decode(data)
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        os.close(self._master)


def _plain(raw: str) -> str:
    return CONTROL_SEQUENCE.sub("", raw).replace("\r\n", "\n")
