"""Signals as input of an event loop.

`signal.set_wakeup_fd` makes Python write the number of each signal into a pipe. The handlers of
the signals do nothing.
"""

import os
import signal
from collections.abc import Collection

__all__ = ["SignalPipe", "drain_notice", "has_terminal"]


class SignalPipe:
    """Context in which signals are read from a pipe. For the main thread."""

    def __init__(
        self, numbers: Collection[signal.Signals], *, ends_with_terminal: bool = False
    ) -> None:
        """Open the pipe; the context then catches the signals.

        Args:
            numbers: Signals to catch.
            ends_with_terminal: Whether SIGHUP is reported as SIGTERM.
        """
        self._numbers = numbers
        self._ends_with_terminal = ends_with_terminal
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._reader

    def read(self) -> list[signal.Signals]:
        """Return the received signals, at least one; block until there is one."""
        received = [signal.Signals(number) for number in os.read(self._reader, 64)]
        if self._ends_with_terminal:
            return [signal.SIGTERM if number is signal.SIGHUP else number for number in received]
        return received

    def ignore(self, *numbers: signal.Signals) -> None:
        """Ignore signals for the rest of the process, which is about to end."""
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
            del self._previous[number]

    def __enter__(self) -> "SignalPipe":
        self._previous = {
            number: signal.signal(number, lambda *_: None) for number in self._numbers
        }
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)


def has_terminal() -> bool:
    """Whether the process has a controlling terminal, so that SIGHUP means its end.

    Without one, or under nohup(1), which ignores SIGHUP, it means a reload.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:  # ENXIO: there is none
        return False
    return True


def drain_notice(number: signal.Signals, seconds: float) -> str:
    """Return the log message for a signal that ends the process while requests are in flight.

    Args:
        number: Number of the signal.
        seconds: Maximum time that the process waits for the requests.
    """
    again = "Ctrl-C" if number is signal.SIGINT else number.name
    return (
        f"waiting up to {seconds:g} s for requests in flight; a second {again} ends them at once"
    )
