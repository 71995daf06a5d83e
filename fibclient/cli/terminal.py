"""The standard streams: what is missing is put in their place, and who reads them is told.

A shell can start a command with a stream closed (`>&-`). Then Python has None for it, and the
next file or connection that is opened gets its number, and whatever is written to that.
"""

import io
import os
import sys
from typing import Literal, TextIO

__all__ = ["is_lively", "prepare_streams"]

DUMB_TERMINALS = ("dumb", "unknown")


def prepare_streams() -> None:
    """Make sure that all streams are there, and that whatever is printed can be encoded."""
    if sys.stdin is None:
        sys.stdin = _null(0, os.O_RDONLY, "r")
    if sys.stdout is None:
        # To write to what can only be read fails, and a command that prints is to fail.
        sys.stdout = _null(1, os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _null(2, os.O_WRONLY, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # rich takes a terminal of no kind for one that knows all there is.
    os.environ["TERM"] = os.environ.get("TERM") or DUMB_TERMINALS[0]


def _null(number: int, flags: int, mode: Literal["r", "w"]) -> TextIO:
    """Open the null device under a number that is free."""
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    return os.fdopen(number, mode, closefd=False)


def is_lively(stream: TextIO) -> bool:
    """Tell whether what goes to a stream is seen on a terminal that knows colours and movement."""
    return stream.isatty() and os.environ["TERM"] not in DUMB_TERMINALS
