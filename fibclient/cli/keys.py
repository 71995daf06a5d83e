"""Keys that are pressed while a live view runs."""

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["keys", "pause"]


@contextmanager
def keys(descriptor: int, last: str) -> Iterator[Callable[[float], bool]]:
    """Take keys as they are pressed, unseen; without a terminal, there are none.

    Args:
        descriptor: of standard input.
        last: the keys that end the view.

    Yields:
        a function that waits for so many seconds, and returns whether to go on: False as soon
        as one of these keys was pressed.
    """
    if not os.isatty(descriptor):
        yield pause
        return
    settings = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        # Ctrl-C discards what was pressed before it and not yet read: a read must not wait for it.
        unwaiting = termios.tcgetattr(descriptor)
        unwaiting[6][termios.VMIN] = 0
        termios.tcsetattr(descriptor, termios.TCSADRAIN, unwaiting)
        yield lambda seconds: _wait(descriptor, last, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)


def pause(seconds: float) -> bool:
    """Wait for so many seconds, with no regard to keys; return that it goes on."""
    time.sleep(max(0.0, seconds))
    return True


def _wait(descriptor: int, last: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        pressed = os.read(descriptor, 64).decode("utf-8", "replace")
        if not pressed or set(pressed) & set(last):
            return False
    return True
