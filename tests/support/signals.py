"""Signals that this process inherited as ignored, which its children must not ignore.

A script that starts a command with `&` makes it ignore SIGINT and SIGQUIT, nohup makes it ignore
SIGHUP, and its children inherit that. A signal with a handler has its default action after exec: a
handler that does nothing leaves this process as it was started, and its children without the flaw.
"""

import signal
from types import FrameType

__all__ = ["let_children_receive"]

PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}
"""Python ignores these itself, and subprocess restores them."""


def let_children_receive() -> None:
    """Give children that are started from now on the default action of each ignored signal.

    Raises:
        ValueError: This is not the main thread.
    """
    for number in signal.valid_signals() - PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
