"""Key presses during a live view."""

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
    """Read key presses without echo or Enter; without a terminal, read none.

    Args:
        descriptor: The file descriptor of standard input.
        last: The keys that end the view.

    Yields:
        A function that waits for a number of seconds and returns whether to continue: it returns
        False at once when one of these keys is pressed or the input ends.
    """
    if not os.isatty(descriptor):
        yield pause
        return
    settings = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        # Ctrl-C discards unread input, even after select() has reported it: reads must not block.
        nonblocking = termios.tcgetattr(descriptor)
        nonblocking[6][termios.VMIN] = 0
        termios.tcsetattr(descriptor, termios.TCSADRAIN, nonblocking)
        yield lambda seconds: _wait(descriptor, last, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)


def pause(seconds: float) -> bool:
    """Wait for `seconds`, ignoring keys, and return True."""
    time.sleep(max(0.0, seconds))
    return True


def _wait(descriptor: int, last: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        pressed = os.read(descriptor, 64).decode("utf-8", "replace")
        if not pressed or set(pressed) & set(last):
            return False
    return True
