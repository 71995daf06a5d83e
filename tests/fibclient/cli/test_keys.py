"""Keys that are pressed while a live view runs."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from fibclient.cli.keys import keys
from tests.waiting import DEADLINE_SECONDS


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the side of a person, and that of a program."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def test_a_last_key(terminal: tuple[int, int]) -> None:
    """A key that ends the view does so at once, without Enter; others are passed over."""
    person, program = terminal
    with keys(program, "q") as wait:
        os.write(person, b"abc")
        assert wait(0.01)
        os.write(person, b"xqy")
        assert not wait(DEADLINE_SECONDS)


def test_no_key(terminal: tuple[int, int]) -> None:
    """Where no key is pressed it goes on, even if there is no time left to wait."""
    with keys(terminal[1], "q") as wait:
        assert wait(0.01)
        assert wait(-1.0)


def test_the_terminal_is_left_as_it_was(terminal: tuple[int, int]) -> None:
    """Keys are unseen while the view runs, and seen again after it, however it ends."""
    program = terminal[1]
    before = termios.tcgetattr(program)

    def view() -> None:
        with keys(program, "q"):
            assert not termios.tcgetattr(program)[3] & termios.ECHO
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view()
    assert termios.tcgetattr(program) == before


def test_no_terminal() -> None:
    """Without a terminal there are no keys, and it goes on."""
    with open(os.devnull, "rb") as nothing, keys(nothing.fileno(), "q") as wait:
        assert wait(0.01)
