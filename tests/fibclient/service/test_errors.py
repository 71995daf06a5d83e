"""Failed starts: which of them a service manager should try again."""

import errno

import pytest

from fibclient.service.errors import ListenError, SettingsError, is_shortage, start_failure


def caused_by(cause: BaseException) -> ListenError:
    """Return an error that was raised from another."""
    error = ListenError("cannot listen on a:1: why")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EAGAIN, "busy"), "short of processes: [Errno 11] busy"),
        (OSError(errno.EMFILE, "many"), "short of file descriptors: [Errno 24] many"),
        (OSError(errno.ENOSPC, "full", "/s"), "short of disk space: [Errno 28] full: '/s'"),
        (OSError(errno.ENOMEM, "none"), "short of memory: [Errno 12] none"),
        (MemoryError(), "short of memory: MemoryError"),
        (RuntimeError("can't start new thread"), "short of threads: can't start new thread"),
        (
            caused_by(OSError(errno.ENFILE, "many")),
            "short of file descriptors: cannot listen on a:1: why",
        ),
    ],
)
def test_shortages(error: BaseException, message: str) -> None:
    """A shortage is reported with what is short, and by the exit code for temporary failures."""
    assert is_shortage(error)
    assert start_failure(error) == (75, message)


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("workers: '0': must be more\nlisten: 'x': must be an address"),
        OSError(errno.EACCES, "denied", "/state"),
        RuntimeError("a bug"),
        caused_by(OSError(errno.EADDRINUSE, "in use")),
    ],
)
def test_other_failures(error: Exception) -> None:
    """Anything else fails again at the next start, and keeps the code that says so."""
    assert not is_shortage(error)
    assert start_failure(error) == (2, str(error))
