"""The command group, and the options before a command's name."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from fibclient.cli.exit_codes import (
    UnsuitableFile,
    end_by_signals,
    exit_code,
    exit_on_errors,
    hint_for,
    print_error,
)
from fibclient.cli.options import Seconds
from fibclient.cli.terminal import prepare_streams
from fibclient.client import FibClient
from fibclient.errors import FibError, RequestRefused, ServerMisbehaved
from fibcommon.addresses import DEFAULT_ADDRESS, Address, parse_addresses
from fibcommon.configuration.passwords import read_password
from fibcommon.service.errors import SettingsError

__all__ = ["CliSession", "commands", "pass_session", "run"]

MAX_STEP_TIMEOUT_SECONDS = 5.0


class CliSession(NamedTuple):
    """The global options of the command line.

    Attributes:
        servers: The addresses of the servers.
        timeout_seconds: The limit for each call, including its retries.
        password: The servers' password; None for none.
        as_json: Whether to print JSON.
    """

    servers: list[Address]
    timeout_seconds: float
    password: str | None
    as_json: bool

    @property
    def step_timeout_seconds(self) -> float:
        """The time limit for each step on a connection without retries."""
        return min(MAX_STEP_TIMEOUT_SECONDS, self.timeout_seconds / 3)

    def client(self, server: Address | None = None, **options: Any) -> FibClient:
        """Return a client without a cache, so that every call reaches a server.

        Args:
            server: The only server to use; by default, any of `servers`.
            options: Further arguments of `FibClient`.
        """
        servers = self.servers if server is None else [server]
        return FibClient(
            ",".join(map(str, servers)),
            timeout_seconds=self.timeout_seconds,
            password=self.password,
            cache_bytes=0,
            **options,
        )


pass_session = click.make_pass_decorator(CliSession)


_MODULES = {
    "first": "sequence",
    "range": "sequence",
    "number": "sequence",
    "digits": "single_numbers",
    "mod": "single_numbers",
    "index": "single_numbers",
    "ping": "ping",
    "info": "info",
    "top": "top",
    "bench": "bench",
    "verify": "verify",
    "doctor": "doctor",
    "completion": "completion",
}
"""The module of each command."""


class _Commands(click.Group):
    """A group that imports commands on demand and converts failures to exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Tables and live views are slow to import, and most commands do not need them.
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(import_module(f"fibclient.cli.commands.{module}"), cmd_name)
        return found

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with exit_on_errors():  # --help prints during parsing
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with exit_on_errors():
            try:
                return super().invoke(ctx)
            except FibError as error:
                # These two errors do not name the server; all others do.
                is_unnamed = isinstance(error, RequestRefused | ServerMisbehaved)
                where = f"{','.join(map(str, ctx.obj.servers))}: " if is_unnamed else ""
                print_error(f"fibclient: {where}{error}{hint_for(error)}")
                raise click.exceptions.Exit(exit_code(error)) from error


class _Addresses(click.ParamType[list[Address]]):
    """A comma-separated list of addresses."""

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
    help="HOST:PORT, unix:/path or srv:NAME; separate several with commas.",
)
@click.option(
    "--timeout",
    envvar="FIBCLIENT_TIMEOUT",
    type=Seconds(),
    default=60.0,
    metavar="SECONDS",
    help="Time limit for each call, including retries.",
)
@click.option(
    "--password-file",
    envvar="FIBCLIENT_PASSWORD_FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File whose first line is the servers' password.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="fibservice", prog_name="fibclient")
@click.pass_context
def commands(
    context: click.Context,
    servers: list[Address],
    timeout: float,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Request Fibonacci numbers from fibservers, and diagnose them.

    \b
    Examples:
      fibclient first 10
      fibclient --server unix:/run/fib/fibserver.sock doctor
      fibclient --server a:11235,b:11235 --json ping

    \b
    Exit codes:
      0  success
      1  the request was rejected or failed, or the output cannot be written
      2  usage error
      3  the server is unreachable

    Error messages go to standard error as plain text, even with --json.

    The environment variables FIBCLIENT_SERVER, FIBCLIENT_TIMEOUT and FIBCLIENT_PASSWORD_FILE set
    the defaults of --server, --timeout and --password-file.
    """
    password = None
    if password_file is not None:
        try:
            password = read_password(password_file).decode()
        except SettingsError as error:
            raise UnsuitableFile(str(error)) from error
        except UnicodeDecodeError as error:
            raise UnsuitableFile(f"{password_file}: the password is not UTF-8") from error
    context.obj = CliSession(servers, timeout, password, as_json)


def run(prog_name: str) -> NoReturn:
    """Run the command in the arguments of this process, and exit."""
    prepare_streams()
    end_by_signals()
    sys.exit(commands(prog_name=prog_name))
