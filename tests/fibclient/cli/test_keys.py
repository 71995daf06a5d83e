"""Key presses during a live view."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from fibclient.cli.keys import keys
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the descriptors of its user and of the program."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_key_ends_view_without_enter(terminal: tuple[int, int]) -> None:
    """A key that ends the view does so without Enter; other keys are ignored."""
    user, program = terminal
    with keys(program, "q") as wait:
        os.write(user, b"abc")
        assert wait(0.01)
        os.write(user, b"xqy")
        assert not wait(DEADLINE_SECONDS)


def test_view_continues_without_key(terminal: tuple[int, int]) -> None:
    """Without a key press the view continues, even if the wait is negative."""
    with keys(terminal[1], "q") as wait:
        assert wait(0.01)
        assert wait(-1.0)


def test_terminal_settings_are_restored(terminal: tuple[int, int]) -> None:
    """Echo is off during the view and restored after it, even after an exception."""
    program = terminal[1]
    before = termios.tcgetattr(program)

    def view() -> None:
        with keys(program, "q"):
            assert not termios.tcgetattr(program)[3] & termios.ECHO
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view()
    assert termios.tcgetattr(program) == before


def test_no_keys_without_terminal() -> None:
    """Without a terminal there are no keys, and the view continues."""
    with open(os.devnull, "rb") as nothing, keys(nothing.fileno(), "q") as wait:
        assert wait(0.01)
