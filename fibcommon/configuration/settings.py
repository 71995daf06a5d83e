"""Settings of a service: their definition, and how they are loaded and reloaded.

The sources are the defaults, a TOML file, environment variables and the command line; later ones
take precedence. Unknown environment variables are ignored, even with the prefix of the service:
Kubernetes sets variables such as FIBSERVER_PORT by itself. A service warns of those that resemble
a setting.

The settings of a service are a subclass of `ServiceSettings`, a dataclass whose fields `setting`
makes. Error messages quote the values that a field accepts; docs/settings.py writes the documents
and the example files from the descriptions. This needs no library: those for settings take longer
to import than the rest of a service, and the kinds of values here need code with any of them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from fibcommon.configuration.text_files import read_text_file
from fibcommon.configuration.values import InvalidItems, Kind, as_text, one_of
from fibcommon.configuration.variables import misspelled_variables
from fibcommon.service.errors import SettingsError, reason
from fibcommon.service.logs import shortened

__all__ = [
    "Definition",
    "LogFormat",
    "LogLevel",
    "ServiceSettings",
    "read_table",
    "setting",
    "unknown_setting",
]

MAX_SHOWN_CHARACTERS = 100
"""Length to which a value is cut in a message."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["plain", "json"]


class Definition(NamedTuple):
    """Definition of a setting.

    Attributes:
        default: Default, as in a TOML file.
        kind: Kind of its values.
        description: What the setting is for, in whole sentences.
        is_reloadable: Whether a reload applies a new value; otherwise that needs a restart.
    """

    default: object
    kind: Kind
    description: str
    is_reloadable: bool


def setting(default: object, kind: Kind, description: str, *, is_reloadable: bool = False) -> Any:
    """Return a field of a settings class; the arguments are those of `Definition`."""
    definition = Definition(default, kind, description, is_reloadable)
    return field(default_factory=lambda: kind.parse(default), metadata={"definition": definition})


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of a service. Sizes are in bytes, times in seconds.

    Attributes:
        given: Names of the settings that a source other than the defaults has.
    """

    PREFIX: ClassVar[str]
    """Prefix of the environment variables."""

    given: frozenset[str] = field(default=frozenset(), compare=False)
    log_level: LogLevel = setting(
        "info",
        one_of(LogLevel),
        "The minimum severity of logged messages.",
        is_reloadable=True,
    )
    log_format: LogFormat = setting(
        "plain",
        one_of(LogFormat),
        "The format of log lines: `plain` text, or a `json` object for each.",
        is_reloadable=True,
    )

    @classmethod
    def definitions(cls) -> dict[str, Definition]:
        """Return the definitions of all settings by name, those of all services last."""
        common = fields(ServiceSettings)
        ordered = [each for each in fields(cls) if each not in common] + [*common]
        return {each.name: each.metadata["definition"] for each in ordered if each.metadata}

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the name of a setting's environment variable."""
        return cls.PREFIX + name.upper()

    @classmethod
    def variable_warnings(cls) -> list[str]:
        """Return a line for each environment variable that resembles a setting but is none."""
        names = [name.upper() for name in cls.definitions()]
        return [*misspelled_variables(cls.PREFIX, names, os.environ)]

    @classmethod
    def load(cls, config: Path | None = None, *, is_reload: bool = False, **flags: object) -> Self:
        """Return the effective settings.

        Args:
            config: TOML file, or None.
            is_reload: Whether the service is already running.
            flags: Settings from the command line.

        Raises:
            SettingsError: A setting is invalid, or the file cannot be read.
        """
        definitions = cls.definitions()
        table = read_table(config, is_reload=is_reload) if config else {}
        lines = [
            f"{config}: {unknown_setting(name, list(definitions))}"
            for name in table
            if name not in definitions
        ]
        variables = {
            name: os.environ[variable]
            for name in definitions
            if (variable := cls.variable(name)) in os.environ
        }
        values, invalid = _parse(definitions, {**table, **variables, **flags})
        settings = cls(given=frozenset(values), **values)
        try:
            if not invalid:
                settings.check()
        except SettingsError as error:
            lines.append(str(error))
        if lines + invalid:
            raise SettingsError("\n".join(lines + invalid))
        return settings

    def check(self) -> None:
        """Check what concerns several settings.

        Raises:
            SettingsError: Settings contradict each other.
        """

    def reloaded(self, fresh: Self) -> tuple[Self, list[str], list[str]]:
        """Apply the reloadable settings among those that have changed.

        Args:
            fresh: Settings as loaded now; `self` is those in use.

        Returns:
            The settings to use, the names of those that changed, and the names of those whose new
            values need a restart.

        Raises:
            SettingsError: The new settings and those that stay contradict each other.
        """
        definitions = self.definitions()
        differing = [name for name in definitions if getattr(self, name) != getattr(fresh, name)]
        changed = [name for name in differing if definitions[name].is_reloadable]
        settings = replace(self, **{name: getattr(fresh, name) for name in changed})
        settings.check()
        return settings, changed, [name for name in differing if name not in changed]

    def as_text(self) -> dict[str, str]:
        """Return all settings as texts; that of an unset one is empty."""
        return {name: as_text(getattr(self, name)) for name in self.definitions()}


def read_table(path: Path, *, is_reload: bool = False) -> dict[str, Any]:
    """Return the contents of a TOML file.

    Args:
        path: Path of the file.
        is_reload: Whether the service is already running.

    Raises:
        SettingsError: The file cannot be read, or is not TOML.
    """
    import tomllib  # takes 6 ms, and not every start has a file

    try:
        return tomllib.loads(read_text_file(path, is_reload=is_reload).decode())
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        raise SettingsError(f"{path}: {reason(error)}") from error
    except RecursionError as error:  # tomllib recurses for each bracket
        raise SettingsError(f"{path}: nested too deeply") from error


def _shown(value: object) -> str:
    """Return a value in quotes for a message, cut if it is long."""
    return repr(shortened(as_text(value), MAX_SHOWN_CHARACTERS))


def unknown_setting(name: str, names: list[str]) -> str:
    """Return the error message for a setting that is none of `names`."""
    import difflib  # takes 5 ms

    close = difflib.get_close_matches(name[:MAX_SHOWN_CHARACTERS], names)
    if close:
        return f"unknown setting {_shown(name)}; did you mean {' or '.join(close)}?"
    return f"unknown setting {_shown(name)}; the settings are {', '.join(names)}"


def _parse(
    definitions: Mapping[str, Definition], given: Mapping[str, object]
) -> tuple[dict[str, Any], list[str]]:
    """Return the parsed values by name, and a line for each invalid one."""
    values, lines = {}, []
    for name in filter(given.__contains__, definitions):
        kind = definitions[name].kind
        try:
            values[name] = kind.parse(given[name])
        except ValueError as error:
            invalid = error.items if isinstance(error, InvalidItems) else [given[name]]
            lines += [f"{name}: {_shown(each)}: must be {kind.allowed}" for each in invalid]
    return values, lines
