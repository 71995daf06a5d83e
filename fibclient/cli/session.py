"""What stands before a command's name, what it means, and how a command ends.

Exit codes are a contract with scripts: 0 fine, 1 the server said no, 2 usage, 3 unreachable.
Ctrl-C and a reader that has seen enough (`| head`) are no errors, and say nothing.
"""

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from fibclient.address import DEFAULT_ADDRESS, Address, parse_addresses
from fibclient.client import FibClient
from fibclient.errors import FibError, ServerUnreachable
from fibclient.service.errors import SettingsError
from fibclient.service.passwords import read_password

__all__ = ["EXIT_REFUSED", "EXIT_UNREACHABLE", "Session", "exit_code", "main", "pass_session"]

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


@dataclass(frozen=True, slots=True)
class Session:
    """What was said before the command's name.

    Attributes:
        servers: whom to ask.
        timeout_seconds: for each call.
        password: of the servers.
        as_json: whether a program reads the output.
    """

    servers: list[Address]
    timeout_seconds: float
    password: str | None
    as_json: bool

    def client(self, server: Address | None = None, **options: Any) -> FibClient:
        """Return a client that does not cache: a diagnosis is about the server.

        Args:
            server: the only one to ask; by default, any of them.
            options: of `FibClient`.
        """
        servers = self.servers if server is None else [server]
        return FibClient(
            ",".join(map(str, servers)),
            timeout_seconds=self.timeout_seconds,
            password=self.password,
            cache_bytes=0,
            **options,
        )


pass_session = click.make_pass_decorator(Session)


_MODULES = {
    "first": "numbers",
    "range": "numbers",
    "number": "numbers",
    "ping": "ping",
    "info": "info",
    "top": "top",
    "bench": "bench",
    "verify": "verify",
    "doctor": "doctor",
    "completion": "completion",
}
"""Where each command is."""


def exit_code(error: FibError) -> int:
    """Return what a command ends with that fails so."""
    return EXIT_UNREACHABLE if isinstance(error, ServerUnreachable) else EXIT_REFUSED


class _Commands(click.Group):
    """Commands that are imported when they are used, and end with the right exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # What one command needs (tables, live views) is not to slow the start of another.
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(import_module(f"fibclient.cli.{module}"), cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FibError as error:
            click.echo(f"fibclient: {error}", err=True)
            raise click.exceptions.Exit(exit_code(error)) from error
        except KeyboardInterrupt as error:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
        except BrokenPipeError as error:
            _give_up_stdout()
            raise click.exceptions.Exit(0) from error
        except OSError as error:
            _give_up_stdout()
            where = "" if error.filename is None else f"{error.filename}: "
            click.echo(f"fibclient: {where}{error.strerror or error}", err=True)
            raise click.exceptions.Exit(EXIT_REFUSED) from error


def _give_up_stdout() -> None:
    """Give standard output somewhere to go: Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Addresses(click.ParamType[list[Address]]):
    """Addresses with commas between them."""

    name = "addresses"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Address]:
        try:
            return parse_addresses(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
@click.option(
    "--server",
    "servers",
    envvar="FIBCLIENT_SERVER",
    default=DEFAULT_ADDRESS,
    type=_Addresses(),
    metavar="ADDRESSES",
    help="HOST:PORT or unix:/path, several with commas.",
)
@click.option(
    "--timeout",
    envvar="FIBCLIENT_TIMEOUT",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="For each call, its retries included.",
)
@click.option(
    "--password-file",
    envvar="FIBCLIENT_PASSWORD_FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its first line is the password of the servers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.version_option(package_name="fibservice", prog_name="fibclient")
@click.pass_context
def main(
    context: click.Context,
    servers: list[Address],
    timeout: float,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Ask fibservers for Fibonacci numbers, and find out how they are.

    \b
    Examples:
      fibclient first 10
      fibclient --server unix:/run/fib/fibserver.sock doctor
      fibclient --server a:11235,b:11235 --json ping

    \b
    Exit codes:
      0  fine
      1  the server said no
      2  usage
      3  the server is out of reach

    Each option before the command may stand in a variable as well: FIBCLIENT_SERVER,
    FIBCLIENT_TIMEOUT, FIBCLIENT_PASSWORD_FILE.
    """
    password = None
    if password_file is not None:
        try:
            password = read_password(password_file).decode()
        except (SettingsError, ValueError) as error:
            raise click.UsageError(str(error)) from error
    context.obj = Session(servers, timeout, password, as_json)
