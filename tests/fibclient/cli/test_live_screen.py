"""Full-screen view: keys, terminal modes and job control."""

import io
import os
import pty
import signal
import termios
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from rich.console import Console

from fibclient.cli.live_screen import INPUT_ENDED, LiveScreen
from tests.support.fibclient_command import COMMAND, Terminal
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


class FakeTerminal(NamedTuple):
    """A pseudo-terminal for keys, and a console whose output can be read.

    Attributes:
        user: The descriptor of the terminal's user.
        program: The descriptor of the program.
        console: The program's console.
        output: What the console has written.
    """

    user: int
    program: int
    console: Console
    output: io.StringIO


@pytest.fixture
def terminal() -> Iterator[FakeTerminal]:
    """A terminal."""
    user, program = pty.openpty()
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=40, height=10, _environ={})
    yield FakeTerminal(user, program, console, output)
    os.close(user)
    os.close(program)


def test_keys_need_no_enter(terminal: FakeTerminal) -> None:
    """Keys are returned one by one without Enter, and arrows by their names."""
    with LiveScreen(terminal.console, terminal.program) as screen:
        os.write(terminal.user, b"ab")
        assert [screen.next_key(DEADLINE_SECONDS) for _ in "ab"] == ["a", "b"]
        for sequence, name in ((b"\x1b[C", "right"), (b"\x1b[D", "left")):
            os.write(terminal.user, sequence)
            assert screen.next_key(DEADLINE_SECONDS) == name
        assert screen.next_key(0.01) is None
        assert screen.next_key(-1.0) is None


def test_terminal_is_restored(terminal: FakeTerminal) -> None:
    """Echo is off and the alternate screen on during the view only, even after an exception."""
    before = termios.tcgetattr(terminal.program)
    handlers = [signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)]

    def view() -> None:
        with LiveScreen(terminal.console, terminal.program) as screen:
            screen.show("figures")
            assert not termios.tcgetattr(terminal.program)[3] & termios.ECHO
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view()
    assert termios.tcgetattr(terminal.program) == before
    assert [signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)] == handlers
    output = terminal.output.getvalue()
    assert output.index(ENTER) < output.index("figures") < output.index(LEAVE)


def test_sigcont_sets_modes_again(terminal: FakeTerminal) -> None:
    """SIGCONT takes the terminal again: the shell has changed it meanwhile."""
    before = termios.tcgetattr(terminal.program)
    with LiveScreen(terminal.console, terminal.program) as screen:
        screen.show("figures")
        termios.tcsetattr(terminal.program, termios.TCSANOW, before)
        os.kill(os.getpid(), signal.SIGCONT)
        assert not termios.tcgetattr(terminal.program)[3] & termios.ECHO
    output = terminal.output.getvalue()
    assert output.count(ENTER) == output.count(LEAVE) == output.count("figures") == 2


def test_signal_during_drawing_waits(terminal: FakeTerminal) -> None:
    """A signal that arrives while a view is drawn is handled after that."""

    class View:
        draws = 0

        def __rich__(self) -> str:
            self.draws += 1
            if self.draws == 1:
                os.kill(os.getpid(), signal.SIGCONT)
                assert LEAVE not in terminal.output.getvalue()
            return "figures"

    with LiveScreen(terminal.console, terminal.program) as screen:
        screen.show(View())
        assert terminal.output.getvalue().count(ENTER) == 2


def test_no_keys_without_terminal(terminal: FakeTerminal) -> None:
    """Without a terminal there are no keys."""
    with (
        open(os.devnull, "rb") as nothing,
        LiveScreen(terminal.console, nothing.fileno()) as screen,
    ):
        assert screen.next_key(0.01) is None


def test_end_of_input_is_a_key(terminal: FakeTerminal) -> None:
    """The end of the terminal's input is a key of its own."""
    user, program = pty.openpty()
    with LiveScreen(terminal.console, program) as screen:
        os.close(user)
        assert screen.next_key(DEADLINE_SECONDS) == INPUT_ENDED
    os.close(program)


JOB = (
    'set -m; {command} --server "$0" top; echo stopped with $?; read; '
    "fg >/dev/null; echo ended with $?"
)
"""A shell with job control that continues the command after Enter."""


def test_view_survives_ctrl_z(server: RunningServer) -> None:
    """Ctrl-Z gives the shell its terminal back; fg shows the view again, with its keys."""
    script = JOB.format(command=" ".join(COMMAND))
    with Terminal(script, server.address, command=["bash", "-c"], rows=30, columns=100) as shell:
        before = shell.settings
        shell.wait_for("resident")
        shell.press("\x1a")
        shell.wait_for(f"stopped with {128 + signal.SIGTSTP}")
        assert shell.settings == before
        shell.press("\n")
        shell.wait_for_raw(ENTER, 2)
        shell.press("q")
        screen = shell.wait()
        assert shell.settings == before
    assert screen.lines[-1] == "ended with 0"
    assert screen.raw.count(ENTER) == screen.raw.count(LEAVE)
