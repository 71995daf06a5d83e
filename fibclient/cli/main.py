"""The command group, and the session that its options describe."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from fibclient.cli.exit_codes import (
    UnsuitableFile,
    end_by_signals,
    error_code,
    exit_code,
    exit_on_errors,
    hint_for,
)
from fibclient.cli.global_options import GLOBAL_OPTIONS, VARIABLES, GroupOption, values
from fibclient.cli.messages import print_error, print_warning, use_json
from fibclient.cli.terminal import prepare_streams
from fibclient.client import FibClient
from fibclient.errors import FibError, RequestRefused, ServerMisbehaved
from fibcommon.addresses import Address
from fibcommon.configuration.variables import misspelled_variables
from fibcommon.service.errors import SettingsError
from fibcommon.service.help_texts import HelpContext

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


def pass_session(command: Callable[..., None]) -> Callable[..., None]:
    """Pass the session to a command as its first argument."""

    @wraps(command)
    def with_session(*arguments: Any, **options: Any) -> None:
        command(_session(click.get_current_context()), *arguments, **options)

    return with_session


def _session(context: click.Context) -> CliSession:
    """Return the session of the global options; the first call reads the password."""
    session: CliSession | None = context.meta.get(_SESSION)
    if session is None:
        options = values(context)
        session = context.meta[_SESSION] = CliSession(
            options["server"],
            options["timeout"],
            _password(options["password_file"]),
            options["as_json"],
        )
    return session


_SESSION = f"{__name__}.session"
"""Key of `Context.meta`, which the group and its command share."""


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    from fibcommon.configuration.passwords import read_password  # with logging, 5 ms

    try:
        return read_password(path).decode()
    except SettingsError as error:
        raise UnsuitableFile(str(error)) from error
    except UnicodeDecodeError as error:
        raise UnsuitableFile(f"{path}: the password is not UTF-8") from error


_MODULES = {
    "first": "sequence",
    "range": "sequence",
    "number": "sequence",
    "digits": "single_numbers",
    "mod": "single_numbers",
    "index": "single_numbers",
    "limits": "limits",
    "ping": "ping",
    "info": "info",
    "top": "top",
    "bench": "bench",
    "export": "export",
    "verify": "verify",
    "doctor": "doctor",
    "completion": "completion",
}
"""The module of each command."""


class _Commands(click.Group):
    """A group that imports commands on demand and converts failures to exit codes."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Tables and live views are slow to import, and most commands do not need them.
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(
            import_module(f"fibclient.cli.commands.{module}"), cmd_name
        )
        if command.epilog is None:  # not adapted yet
            command.context_class = HelpContext
            command.params += [*GLOBAL_OPTIONS, *_version_options(self)]
            command.epilog = "The options of `fibclient --help` can follow the command as well."
            # Click cuts short helps unless they are set.
            command.short_help = command.get_short_help_str(limit=sys.maxsize)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        arguments = list(args)  # the parser consumes args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = next(filter(_MODULES.__contains__, arguments), "")
            command = self.get_command(ctx, name)
            if command is None or not any(error.option_name in p.opts for p in command.params):
                raise
            raise click.NoSuchOption(
                error.option_name,
                f"Option {error.option_name!r} must follow the command: it belongs to {name!r}.",
                ctx=ctx,
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _MODULES and not ctx.resilient_parsing:
            raise click.NoSuchCommand(name, possibilities=_MODULES, ctx=ctx)
        return super().resolve_command(ctx, args)

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
                print_error(
                    str(error),
                    code=error_code(error),
                    exit_code=exit_code(error),
                    server=",".join(map(str, _session(ctx).servers)) if is_unnamed else None,
                    advice=hint_for(error).removeprefix("; "),
                )
                raise click.exceptions.Exit(exit_code(error)) from error


def _version_options(group: click.Group) -> list[click.Parameter]:
    return [option for option in group.params if option.name == "version"]


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
@click.version_option(cls=GroupOption, package_name="fibservice", prog_name="fibclient")
def commands() -> None:
    """Request Fibonacci numbers from fibservers, and diagnose them.

    \b
    Examples:
      fibclient first 10
      fibclient --server unix:/run/fib/fibserver.sock doctor
      fibclient ping --server a.example,b.example --json

    \b
    Exit codes:
      0  success
      1  the request was rejected or failed, or the output cannot be written
      2  usage error
      3  the server is unreachable

    Messages go to standard error. With --json, each is a JSON object: {"error": …, "code": …,
    "exit_code": …}, and "server" and "advice" where they help; {"warning": …} and {"note": …}
    are not errors. The code is that of the server, such as LIMIT, or one of usage, unreachable,
    misbehaved, failed and system.

    Defaults of --server, --timeout and --password-file come from the environment variables
    FIBCLIENT_SERVER, FIBCLIENT_TIMEOUT and FIBCLIENT_PASSWORD_FILE, or else from the TOML file
    ~/.config/fibclient/config.toml, which has the settings server, timeout and password_file.
    The variables XDG_CONFIG_HOME and FIBCLIENT_CONFIG (a file, or empty for none) move it.
    """


for _option in reversed(GLOBAL_OPTIONS):
    commands.params.insert(0, _option)


def run(prog_name: str) -> NoReturn:
    """Run the command in the arguments of this process, and exit."""
    prepare_streams()
    end_by_signals()
    arguments = sys.argv[1:]
    options_end = arguments.index("--") if "--" in arguments else len(arguments)
    use_json("--json" in arguments[:options_end])
    for line in misspelled_variables("FIBCLIENT_", VARIABLES, os.environ):
        print_warning(line)
    sys.exit(commands(prog_name=prog_name))
