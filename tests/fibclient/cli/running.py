"""The `fibclient` command, run as a shell runs it, and as a person does at a terminal."""

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
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.waiting import DEADLINE_SECONDS

__all__ = ["COMMAND", "Screen", "Terminal", "fibclient", "on_terminal"]

COMMAND = [sys.executable, "-m", "fibclient"]

CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78=>]|\x1b\][^\x07]*\x07")

_DECIDED_BY_TESTS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "COLORTERM")
"""What the terminal of whoever runs the tests is like is not to matter."""


def fibclient(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command, its output going to programs.

    Args:
        arguments: of the command line.
        environment: variables to set for it.
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
    """What a command left on a terminal.

    Attributes:
        code: the exit code.
        raw: all that the terminal got, in order.
    """

    code: int
    raw: str

    @property
    def text(self) -> str:
        """What the terminal got without its control sequences, and with plain ends of lines."""
        return _plain(self.raw)

    @property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()


def on_terminal(
    *arguments: str, columns: int = 80, rows: int = 24, term: str = "xterm", **environment: str
) -> Screen:
    """Run the command on a terminal of its own, to its end.

    Args:
        arguments: of the command line.
        columns: the terminal's width.
        rows: its height.
        term: its kind, for the variable TERM.
        environment: more variables to set.
    """
    with Terminal(
        *arguments, columns=columns, rows=rows, term=term, stdout=None, **environment
    ) as terminal:
        return terminal.wait()


class Terminal:
    """A terminal on which the command runs: it shows what comes, and keys can be pressed.

    It is a pseudo-terminal (pty(7)), and the command's controlling one, so that Ctrl-C is the
    signal that it is for people.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        term: str = "xterm",
        stdout: IO[bytes] | None = None,
        **environment: str,
    ) -> None:
        """Start the command.

        Args:
            arguments: of the command line.
            columns: the terminal's width.
            rows: its height.
            term: its kind, for the variable TERM.
            stdout: where standard output goes, if not to the terminal.
            environment: more variables to set.
        """
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in _DECIDED_BY_TESTS}
        self._child = subprocess.Popen(
            [*COMMAND, *arguments],
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
        """What the terminal has got so far, without control sequences."""
        return _plain(self._raw)

    @property
    def settings(self) -> list[object]:
        """How the terminal is set: whether it shows what is typed, for example."""
        return termios.tcgetattr(self._master)

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._child.send_signal(number)

    def press(self, keys: str) -> None:
        """Press keys; Ctrl-C is "\\x03"."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal has got something; fail if it never does."""
        while text not in self.text:
            if not self._receive():
                raise AssertionError(f"the command ended without {text!r}:\n{self.text}")

    def wait(self) -> Screen:
        """Wait for the command's end."""
        while self._receive():
            pass
        return Screen(self._child.wait(DEADLINE_SECONDS), self._raw)

    def _receive(self) -> bool:
        """Wait for something to come; tell whether something did, and not the end."""
        left = self._deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            raise AssertionError(f"nothing came to the terminal any more:\n{self.text}")
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            data = b""  # as Linux says that the last process has closed the terminal
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
