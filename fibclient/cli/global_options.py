"""Options that are allowed before and after the command's name, and where their values come from.

The command line takes precedence over environment variables, and these over the settings file.
Values before the command's name are converted with those after it, so that an option after the
name replaces an invalid one before it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fibclient.cli.exit_codes import UnsuitableFile
from fibclient.cli.options import Addresses, Seconds
from fibclient.cli.settings_file import read_settings, settings_path
from fibcommon.addresses import DEFAULT_ADDRESS, DEFAULT_PORT

__all__ = [
    "GLOBAL_OPTIONS",
    "VARIABLES",
    "CommandWithoutDefaults",
    "GlobalOption",
    "GroupOption",
    "values",
]

_GIVEN = f"{__name__}.given"
_VALUES = f"{__name__}.values"
_SETTINGS = f"{__name__}.settings"
"""Keys of `Context.meta`, which the group and its command share."""


class CommandWithoutDefaults(click.Command):
    """A command that works although the variables or the settings file are invalid."""


class GroupOption(click.Option):
    """An option that only the help of the group describes, not that of each command."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the texts for the help of the group; None for that of a command."""
        return super().get_help_record(ctx) if ctx.parent is None else None


class GlobalOption(GroupOption):
    """An option of the group and of each command. Without an `envvar`, it is no setting."""

    def __init__(self, names: list[str], **options: Any) -> None:
        """Take the arguments of `click.Option`; commands get a session instead of the value."""
        super().__init__(names, expose_value=False, **options)

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Remember the text before the command's name, or store the value after it."""
        assert self.name is not None  # options have names
        given: dict[str, Any] = ctx.meta.setdefault(_GIVEN, {})
        if ctx.parent is None:
            if self.name in opts:
                given[self.name] = opts[self.name]
            return None, args
        value, args = super().handle_parse_result(ctx, {**given, **opts}, args)
        ctx.meta.setdefault(_VALUES, {})[self.name] = value
        return value, args

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        """Return the value and its source: also the settings file, before the default."""
        assert self.name is not None
        value, source = super().consume_value(ctx, opts)
        if isinstance(ctx.command, CommandWithoutDefaults):
            value = opts.get(self.name)
        elif source is ParameterSource.DEFAULT and self.envvar and not ctx.resilient_parsing:
            settings = ctx.meta.get(_SETTINGS)
            if settings is None:
                settings = ctx.meta[_SETTINGS] = read_settings(_SETTING_NAMES)
            if self.name in settings:
                value, source = settings[self.name], ParameterSource.DEFAULT_MAP
        # For `process_value`: click 8.4.0 sets the source only after the conversion.
        ctx.set_parameter_source(self.name, source)
        return value, source

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert a value; an error names the variable or the file that has it."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            assert self.name is not None
            source = ctx.get_parameter_source(self.name)
            if source is ParameterSource.DEFAULT_MAP:
                text = f"{settings_path()}: {self.name}: {error.message}"
                raise UnsuitableFile(text) from error
            if source is ParameterSource.ENVIRONMENT:
                error.param_hint = str(self.envvar)
            raise


def values(context: click.Context) -> dict[str, Any]:
    """Return the values of the global options by name, once a command's options are parsed."""
    found: dict[str, Any] = context.meta[_VALUES]
    return found


GLOBAL_OPTIONS = (
    GlobalOption(
        ["--server", "-s"],
        envvar="FIBCLIENT_SERVER",
        default=DEFAULT_ADDRESS,
        type=Addresses(),
        metavar="ADDRESSES",
        help="HOST, HOST:PORT, unix:/path or srv:NAME; separate several with commas. The default "
        f"port is {DEFAULT_PORT}.",
    ),
    GlobalOption(
        ["--timeout"],
        envvar="FIBCLIENT_TIMEOUT",
        type=Seconds(),
        default=60.0,
        metavar="SECONDS",
        help="Time limit for each call, including retries.",
    ),
    GlobalOption(
        ["--password-file"],
        envvar="FIBCLIENT_PASSWORD_FILE",
        default=None,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File whose first line is the servers' password.",
    ),
    GlobalOption(["--json", "as_json"], is_flag=True, help="Print JSON."),
)

_SETTING_NAMES = tuple(option.name for option in GLOBAL_OPTIONS if option.envvar and option.name)

VARIABLES = ("CONFIG", *map(str.upper, _SETTING_NAMES))
"""The environment variables without their prefix."""
