"""Standard streams: replacements for closed ones, and terminal capabilities.

A shell can start a command with a stream closed (`>&-`). Python then sets the stream to None, and
the next file or socket that is opened gets its descriptor, and any output sent to it.
"""

import io
import os
import stat
import sys
from typing import Literal, TextIO

__all__ = ["prepare_streams", "shows_progress", "supports_live_display"]

DUMB_TERMINALS = ("dumb", "unknown")


def prepare_streams() -> None:
    """Open closed standard streams, and replace characters that cannot be encoded."""
    if sys.stdin is None:
        sys.stdin = _null(0, os.O_RDONLY, "r")
    if sys.stdout is None:
        # Read-only, so that a command that prints fails.
        sys.stdout = _null(1, os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _null(2, os.O_WRONLY, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # rich treats a terminal without TERM as fully capable.
    os.environ["TERM"] = os.environ.get("TERM") or DUMB_TERMINALS[0]


def _null(number: int, flags: int, mode: Literal["r", "w"]) -> TextIO:
    """Open the null device as descriptor `number`, which is closed."""
    descriptor = os.open(os.devnull, flags)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return os.fdopen(number, mode, closefd=False)


def supports_live_display(stream: TextIO) -> bool:
    """Return whether a stream is a terminal with colours and cursor movement."""
    return stream.isatty() and os.environ["TERM"] not in DUMB_TERMINALS


def shows_progress() -> bool:
    """Return whether to show progress on standard error: it is a terminal, and ours alone.

    What reads standard output from a pipe may show it on the same terminal, as pagers do.
    """
    mode = os.fstat(sys.stdout.fileno()).st_mode
    is_piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return supports_live_display(sys.stderr) and not is_piped
