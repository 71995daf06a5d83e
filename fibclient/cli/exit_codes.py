"""Exit codes for failures and signals, and one-line error messages.

Exit codes are a contract with scripts: 0 success, 1 request rejected or failed, 2 usage error,
3 server unreachable, 128 + N for signal N. Ctrl-C and a closed pipe (`| head`) are not errors and
print no message.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from fibclient.cli.messages import print_error, uses_json
from fibclient.cli.remedies import remedy_for
from fibclient.errors import FibError, RequestRefused, ServerMisbehaved, ServerUnreachable
from fibcommon.service.errors import remedy_after

__all__ = [
    "EXIT_REFUSED",
    "EXIT_UNREACHABLE",
    "UnsuitableFile",
    "end_by_signals",
    "error_code",
    "exit_code",
    "exit_on_errors",
    "hint_for",
]

EXIT_REFUSED = 1
EXIT_USAGE = click.UsageError.exit_code
EXIT_UNREACHABLE = 3
EXIT_SIGNAL = 128
"""Added to the signal's number, as shells do."""

MAX_EXIT_SECONDS = 1.0
"""The time from a signal to the end of the process."""


class UnsuitableFile(click.ClickException):
    """A file named on the command line has unsuitable contents; it is left unchanged."""

    exit_code = EXIT_USAGE


def exit_code(error: FibError) -> int:
    """Return the exit code for a failure."""
    return EXIT_UNREACHABLE if isinstance(error, ServerUnreachable) else EXIT_REFUSED


def error_code(error: FibError) -> str:
    """Return the code of a failure: the server's own, or a word for the kind."""
    if isinstance(error, RequestRefused):
        return error.code
    if isinstance(error, ServerUnreachable):
        return "unreachable"
    return "misbehaved" if isinstance(error, ServerMisbehaved) else "failed"


def hint_for(error: FibError) -> str:
    """Return a hint to append to the error message, or ""."""
    return remedy_after(error, remedy_for(error))


def end_by_signals() -> None:
    """Raise SystemExit on SIGTERM and SIGHUP, so that terminals are restored and files closed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Leave SIGHUP ignored under nohup(1).
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # A reader that stalls blocks the last lines and the flush at exit. They have a limited time.
    code = EXIT_SIGNAL + number
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(code))
    signal.setitimer(signal.ITIMER_REAL, MAX_EXIT_SECONDS)
    sys.exit(code)


@contextmanager
def exit_on_errors() -> Iterator[None]:
    """Convert Ctrl-C, I/O errors and, for --json, usage errors in the block to exit codes."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(EXIT_SIGNAL + signal.SIGINT) from error
    except BrokenPipeError as error:
        _redirect_stdout()
        raise click.exceptions.Exit(0) from error
    except OSError as error:
        _redirect_stdout()
        where = "" if error.filename is None else f"{error.filename}: "
        print_error(f"{where}{error.strerror or error}", code="system", exit_code=EXIT_REFUSED)
        raise click.exceptions.Exit(EXIT_REFUSED) from error
    except click.ClickException as error:
        if not uses_json():
            raise  # click prints it, with the usage
        print_error(error.format_message(), code="usage", exit_code=error.exit_code)
        raise click.exceptions.Exit(error.exit_code) from error


def _redirect_stdout() -> None:
    """Redirect standard output to the null device: Python flushes it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
