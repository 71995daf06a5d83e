"""How a command ends: failures and signals become exit codes, and at most one line says why.

Exit codes are a contract with scripts: 0 fine, 1 the server said no, 2 usage, 3 unreachable,
128 + its number for a signal. Ctrl-C and a reader that has seen enough (`| head`) are no errors,
and say nothing.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from fibclient.errors import (
    FibError,
    NotFibserver,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)

__all__ = [
    "EXIT_REFUSED",
    "EXIT_UNREACHABLE",
    "UnsuitableFile",
    "advice",
    "end_by_signals",
    "endings",
    "exit_code",
    "say",
]

EXIT_REFUSED = 1
EXIT_USAGE = click.UsageError.exit_code
EXIT_UNREACHABLE = 3
EXIT_SIGNAL = 128
"""Plus the signal's number, as shells have it."""


class UnsuitableFile(click.ClickException):
    """A file that was named cannot be used: it holds something else. It is left as it is."""

    exit_code = EXIT_USAGE


def exit_code(error: FibError) -> int:
    """Return what a command ends with that fails so."""
    return EXIT_UNREACHABLE if isinstance(error, ServerUnreachable) else EXIT_REFUSED


def advice(error: FibError) -> str:
    """Return what to do about a failure, to be put behind it; empty if that is told already."""
    if isinstance(error, RequestRefused) and error.code in ("NOAUTH", "WRONGPASS"):
        return "; give the right password with --password-file FILE"
    if isinstance(error, NotFibserver):
        return ""
    # A Redis speaks as a fibserver does, and knows none of its commands.
    is_stranger = str(error).startswith("ERR unknown command")
    if is_stranger or isinstance(error, ServerMisbehaved):
        return "; this is no fibserver, or one of another version: see `fibclient doctor`"
    if isinstance(error, ServerUnreachable):
        return "; see `fibclient doctor`"
    return ""


def say(text: str) -> None:
    """Tell something on standard error; if that cannot be, there is nobody to be told."""
    with suppress(OSError):
        click.echo(text, err=True)


def end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end the command in order: terminals and files are left well."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup(1) lets commands ignore SIGHUP.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: sys.exit(EXIT_SIGNAL + number))


@contextmanager
def endings() -> Iterator[None]:
    """Make an exit code of whatever ends what is done here."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(EXIT_SIGNAL + signal.SIGINT) from error
    except BrokenPipeError as error:
        _give_up_stdout()
        raise click.exceptions.Exit(0) from error
    except OSError as error:
        _give_up_stdout()
        where = "" if error.filename is None else f"{error.filename}: "
        say(f"fibclient: {where}{error.strerror or error}")
        raise click.exceptions.Exit(EXIT_REFUSED) from error


def _give_up_stdout() -> None:
    """Give standard output somewhere to go: Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
