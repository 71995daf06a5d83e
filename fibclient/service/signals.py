"""Signals, as something to wait for like any other input.

Python's handlers run between byte codes, so they do nothing here; the wake-up descriptor carries
the number of each signal into a pipe.
"""

import os
import signal
from collections.abc import Collection

__all__ = ["SignalPipe"]


class SignalPipe:
    """Signals as bytes in a pipe, while this context lasts; for the main thread."""

    def __init__(self, numbers: Collection[signal.Signals]) -> None:
        """Prepare to catch the signals of these numbers."""
        self._numbers = numbers
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come, at least one."""
        return [signal.Signals(number) for number in os.read(self._reader, 64)]

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
