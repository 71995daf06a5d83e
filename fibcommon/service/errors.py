"""Errors that prevent a service from starting, and the exit codes that report them."""

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
]

EXIT_FAILED_START = 2
"""For service managers: a restart will not help."""

EXIT_SHORTAGE = os.EX_TEMPFAIL
"""For service managers: the machine was short of something, so a later restart may succeed."""

SHORTAGE_PAUSE_SECONDS = 3.5
"""Before the end, under systemd: it gives up on a unit that starts twenty times within a minute
(StartLimitBurst), and 252 cannot let pauses grow."""

SHORT_OF = {
    errno.EAGAIN: "processes",  # fork(2): RLIMIT_NPROC, pids.max, threads-max
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
    errno.ENOSPC: "disk space",
    errno.EDQUOT: "disk space",
}
"""What is missing when a system call fails with one of these."""

NO_THREAD = "can't start new thread"
"""How CPython reports EAGAIN of clone(2): a RuntimeError without a number."""


class SettingsError(Exception):
    """Settings that cannot be: one line for each, with its name, value and what is allowed."""


class ListenError(Exception):
    """An address or a socket that cannot be listened on."""


def reason(error: Exception) -> str:
    """Return why something failed, without what the caller says anyway."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def is_shortage(error: BaseException) -> bool:
    """Whether an error, or the one it was raised from, is a shortage that may pass."""
    return _short_of(error) is not None


def end_failed_start(program: str, error: BaseException) -> NoReturn:
    """Print why a start failed, and exit with the code that says whether to try again.

    Args:
        program: the name to put in front of each line.
        error: what the start failed with.
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
