"""Signals, as something to wait for like any other input.

Python's handlers run between byte codes, so they do nothing here; the wake-up descriptor carries
the number of each signal into a pipe.
"""

import os
import signal
from collections.abc import Collection

__all__ = ["SignalPipe", "drain_notice", "has_terminal"]


class SignalPipe:
    """Signals as bytes in a pipe, while this context lasts; for the main thread."""

    def __init__(
        self, numbers: Collection[signal.Signals], *, ends_with_terminal: bool = False
    ) -> None:
        """Prepare to catch signals.

        Args:
            numbers: Which ones.
            ends_with_terminal: Whether SIGHUP counts as SIGTERM.
        """
        self._numbers = numbers
        self._ends_with_terminal = ends_with_terminal
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come, at least one."""
        taken = [signal.Signals(number) for number in os.read(self._reader, 64)]
        if self._ends_with_terminal:
            return [signal.SIGTERM if each is signal.SIGHUP else each for each in taken]
        return taken

    def ignore(self, *numbers: signal.Signals) -> None:
        """Ignore some signals for good, since the process is about to end as it should."""
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
    """Whether a terminal controls this process, whose end is what SIGHUP means then.

    Elsewhere SIGHUP asks a service to reload, as under nohup(1), which has it ignored.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:  # ENXIO: there is none
        return False
    return True


def drain_notice(number: signal.Signals, seconds: float) -> str:
    """Return what to log when a signal ends the process while requests are in progress.

    Args:
        number: Of the signal.
        seconds: How long the process waits for them.
    """
    again = "Ctrl-C" if number is signal.SIGINT else number.name
    return (
        f"waiting up to {seconds:g} s for requests in progress; a second {again} ends them at once"
    )
