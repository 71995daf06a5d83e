"""Errors that prevent a service from starting, and the exit codes that report them."""

import errno
import os

__all__ = [
    "EXIT_FAILED_START",
    "EXIT_SHORTAGE",
    "ListenError",
    "SettingsError",
    "is_shortage",
    "reason",
    "start_failure",
]

EXIT_FAILED_START = 2
"""For service managers: a restart will not help."""

EXIT_SHORTAGE = os.EX_TEMPFAIL
"""For service managers: the machine was short of something, so a later restart may succeed."""

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


def start_failure(error: BaseException) -> tuple[int, str]:
    """Return the exit code for a start that failed, and the lines to print."""
    short_of = _short_of(error)
    if short_of is None:
        return EXIT_FAILED_START, str(error)
    return EXIT_SHORTAGE, f"short of {short_of}: {str(error) or type(error).__name__}"


def _short_of(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        return "threads"
    if isinstance(error, OSError) and error.errno in SHORT_OF:
        return SHORT_OF[error.errno]
    return _short_of(error.__cause__) if error.__cause__ is not None else None
