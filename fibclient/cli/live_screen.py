"""Full-screen view on a terminal: the alternate screen, key presses and job control.

    enter ──> show, next_key … ──> leave, and print the last view below the shell's prompt
      ▲                              │
      └── SIGCONT ── stopped <── SIGTSTP (Ctrl-Z)

The view owns the terminal's modes while it is shown. Ctrl-Z restores them before the process
stops, and SIGCONT sets them again: the shell used others in between. Python runs signal handlers
in the main thread between any two steps, so a signal that arrives while a view is drawn is handled
after that.
"""

import os
import select
import signal
import termios
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["INPUT_ENDED", "LiveScreen"]

INPUT_ENDED = ""
"""The key that stands for the end of the input."""

_READ_BYTES = 64
_ARROWS = {"\x1b[C": "right", "\x1b[D": "left", "\x1bOC": "right", "\x1bOD": "left"}
"""Names of the keys that terminals send as several characters."""


class LiveScreen:
    """The alternate screen of a terminal. Usable in the main thread only."""

    def __init__(self, console: Console, descriptor: int) -> None:
        """Set the terminal.

        Args:
            console: The console of the terminal.
            descriptor: The file descriptor of standard input; without a terminal there are no
                keys.
        """
        self._console = console
        self._descriptor = descriptor
        self._has_keys = os.isatty(descriptor)
        self._keys: list[str] = []
        self._live = self._new_live()
        self._view: RenderableType = ""
        self._is_busy = False
        self._pending: Callable[[], None] | None = None

    def show(self, view: RenderableType) -> None:
        """Replace what is shown."""
        self._view = view
        self._undisturbed(self._draw)

    def next_key(self, seconds: float) -> str | None:
        """Wait for a key.

        Args:
            seconds: The time to wait.

        Returns:
            The character of the key, `left` or `right` for these arrows, `INPUT_ENDED`, or None
            if no key was pressed in time.
        """
        if not self._has_keys:
            time.sleep(max(0.0, seconds))
            return None
        deadline = time.monotonic() + seconds
        while not self._keys:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left)[0]:
                return None
            self._keys += _keys(os.read(self._descriptor, _READ_BYTES).decode("utf-8", "replace"))
        return self._keys.pop(0)

    def __enter__(self) -> Self:
        if self._has_keys:
            self._settings = termios.tcgetattr(self._descriptor)
        self._former = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTSTP, self._on_signal(self._suspend)),
                (signal.SIGCONT, self._on_signal(self._resume)),
                (signal.SIGWINCH, self._on_signal(self._draw)),
            )
            if signal.getsignal(number) is not signal.SIG_IGN  # a shell without job control
        }
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._leave()

    def _enter(self) -> None:
        if self._has_keys:
            tty.setcbreak(self._descriptor, termios.TCSANOW)
            # Ctrl-C discards unread input, even after select() has reported it: reads must not
            # block.
            settings = termios.tcgetattr(self._descriptor)
            settings[6][termios.VMIN] = 0
            termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)
        self._live.start()

    def _leave(self) -> None:
        # Modes first: the rest is output, which waits for whoever reads it.
        if self._has_keys:
            with suppress(termios.error):  # the terminal was closed
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._settings)
        self._live.stop()
        self._live = self._new_live()

    def _draw(self) -> None:
        self._live.update(self._view, refresh=True)

    def _suspend(self) -> None:
        """Stop the process, as Ctrl-Z does by default, with the terminal as it was before."""
        self._leave()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._pending = None  # SIGCONT
        self._enter()
        self._draw()

    def _resume(self) -> None:
        """Take the terminal again after a SIGSTOP, which no handler precedes."""
        self._leave()
        self._enter()
        self._draw()

    def _on_signal(self, handle: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda number, frame: self._undisturbed(handle)

    def _undisturbed(self, step: Callable[[], None]) -> None:
        """Run a step now, or after the one that a signal has interrupted."""
        if self._is_busy:
            self._pending = step
            return
        self._is_busy = True
        try:
            step()
            while self._pending is not None:
                step, self._pending = self._pending, None
                step()
        finally:
            self._is_busy = False

    def _new_live(self) -> Live:
        # Without the thread that would draw at any time.
        return Live(console=self._console, screen=True, auto_refresh=False)


def _keys(text: str) -> list[str]:
    """Return the keys in the input of a terminal."""
    if not text:
        return [INPUT_ENDED]
    if text in _ARROWS:
        return [_ARROWS[text]]
    return [*text]
