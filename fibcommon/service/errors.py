"""Errors that prevent a service from starting, and their exit codes."""

import errno
import os
import sys
import time
from typing import NoReturn

__all__ = [
    "EXIT_FAILED_START",
    "EXIT_SHORTAGE",
    "ListenError",
    "SettingsError",
    "end_failed_start",
    "is_shortage",
    "reason",
    "remedy_after",
]

EXIT_FAILED_START = 2
"""Exit code for service managers: a restart will not help."""

EXIT_SHORTAGE = os.EX_TEMPFAIL
"""Exit code for service managers: a resource was short, so a later restart may succeed."""

SHORTAGE_PAUSE_SECONDS = 3.5
"""Pause before the exit under systemd, which gives up on a unit that starts twenty times within a
minute (StartLimitBurst); systemd 252 cannot increase the pause between restarts."""

SHORT_OF = {
    errno.EAGAIN: "processes",  # fork(2): RLIMIT_NPROC, pids.max, threads-max
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
    errno.ENOSPC: "disk space",
    errno.EDQUOT: "disk space",
}
"""The missing resource by the errno of a failed system call."""

NO_THREAD = "can't start new thread"
"""Text of CPython's RuntimeError for EAGAIN of clone(2); it has no errno."""


class SettingsError(Exception):
    """Invalid settings. The message has a line for each: its name, value and allowed values."""


class ListenError(Exception):
    """A service cannot listen on an address or a socket."""


def reason(error: Exception) -> str:
    """Return the message of an error, without errno and file name."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def remedy_after(message: object, remedy: str) -> str:
    """Return a remedy as it follows a message: after a semicolon, or as a sentence of its own.

    Args:
        message: The message; some of Redis's are sentences.
        remedy: What to do, in lower case; empty for none.
    """
    if not remedy:
        return ""
    if str(message).endswith((".", "?")):
        return f" {remedy[0].upper()}{remedy[1:]}"
    return f"; {remedy}"


def is_shortage(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is a temporary shortage of a resource."""
    return _short_of(error) is not None


def end_failed_start(program: str, error: BaseException) -> NoReturn:
    """Print the error that made a start fail, and exit with the matching code.

    Args:
        program: Name to print before each line.
        error: The error.
    """
    short_of = _short_of(error)
    message = str(error) or type(error).__name__
    head = program if short_of is None else f"{program}: short of {short_of}"
    for line in message.splitlines():
        print(f"{head}: {line}", file=sys.stderr)
    if short_of is None:
        sys.exit(EXIT_FAILED_START)
    if "NOTIFY_SOCKET" in os.environ:
        time.sleep(SHORTAGE_PAUSE_SECONDS)
    sys.exit(EXIT_SHORTAGE)


def _short_of(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        return "threads"
    if isinstance(error, OSError) and error.errno in SHORT_OF:
        return SHORT_OF[error.errno]
    return _short_of(error.__cause__) if error.__cause__ is not None else None
