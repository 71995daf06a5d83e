"""Loading and validation of the settings of a service.

The sources are the defaults in the code, a TOML file, environment variables and the command line;
later ones take precedence. Unknown environment variables are ignored, even with the prefix of the
service: Kubernetes sets variables such as FIBSERVER_PORT by itself.

The settings of a service are a subclass of `ServiceSettings`. The description of a field states
the allowed values; the error message for an invalid value quotes it.
"""

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from fibcommon.addresses import parse_address, parse_server
from fibcommon.configuration.text_files import read_text_file
from fibcommon.service.errors import SettingsError, reason

__all__ = [
    "AbsolutePath",
    "AddressText",
    "LogFormat",
    "LogLevel",
    "OptionalPath",
    "Seconds",
    "ServerText",
    "ServiceSettings",
    "Size",
    "TcpAddressText",
    "Whole",
    "load",
    "merged",
    "none_if_empty",
    "one_of",
    "seconds",
    "size",
    "split",
    "whole",
]

TIB = 1024**4
YEAR_SECONDS = 365 * 86_400


class ServiceSettings(BaseSettings):
    """Settings of a service. Sizes are bytes or texts such as `64MiB`; times are seconds."""

    def as_text(self) -> dict[str, str]:
        """Return all settings as texts; that of an unset one is empty."""
        return {name: _text(getattr(self, name)) for name in type(self).model_fields}


Settings = TypeVar("Settings", bound=ServiceSettings)


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):  # pydantic would accept it as a number
        raise ValueError
    return value


def split(value: object) -> object:
    """Return the parts of a comma-separated text, or a list unchanged."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not parts:
        raise ValueError
    return parts


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _check_server(text: str) -> str:
    parse_server(text)
    return text


def _check_tcp_address(text: str) -> str:
    if parse_address(text).path:
        raise ValueError
    return text


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError
    return path


def none_if_empty(value: object) -> object:
    """Return None for an empty text, with which a file or a variable unsets a setting."""
    return None if value == "" else value


Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Size = Annotated[ByteSize, BeforeValidator(_refuse_bool)]
Seconds = Annotated[float, BeforeValidator(_refuse_bool)]
AddressText = Annotated[str, AfterValidator(_check_address)]
ServerText = Annotated[str, AfterValidator(_check_server)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["plain", "json"]
TcpAddressText = Annotated[str, AfterValidator(_check_tcp_address)]
AbsolutePath = Annotated[Path, AfterValidator(_check_absolute)]
OptionalPath = Annotated[Path | None, BeforeValidator(none_if_empty)]


def whole(default: int, minimum: int, maximum: int) -> Any:
    """Return a field for a whole number."""
    allowed = f"must be a whole number from {minimum:,} to {maximum:,}"
    return Field(default, ge=minimum, le=maximum, description=allowed)


def size(default: int, minimum: int, minimum_text: str) -> Any:
    """Return a field for a size.

    Args:
        default: Default in bytes.
        minimum: Minimum in bytes.
        minimum_text: Minimum as shown in error messages.
    """
    allowed = f"must be a size such as 64MiB, from {minimum_text} to 1TiB"
    return Field(ByteSize(default), ge=minimum, le=TIB, description=allowed)


def seconds(default: float, *, is_zero_allowed: bool = False) -> Any:
    """Return a field for a number of seconds."""
    minimum = "from 0" if is_zero_allowed else "above 0"
    allowed = f"must be a number of seconds {minimum} up to {YEAR_SECONDS:,} (a year)"
    if is_zero_allowed:
        return Field(default, ge=0, le=YEAR_SECONDS, description=allowed)
    return Field(default, gt=0, le=YEAR_SECONDS, description=allowed)


def one_of(default: str, choices: object) -> Any:
    """Return a field for the values of a Literal."""
    *others, last = get_args(choices)
    return Field(default, description=f"must be {', '.join(others)} or {last}")


def load(
    kind: type[Settings], config: Path | None = None, *, is_reload: bool = False, **flags: object
) -> Settings:
    """Return the effective settings.

    Args:
        kind: Settings class of the service.
        config: TOML file, or None.
        is_reload: Whether the service is already running.
        flags: Settings from the command line.

    Raises:
        SettingsError: A setting is invalid, or the file cannot be read.
    """
    table = _read_table(config, is_reload) if config else {}
    names = list(kind.model_fields)
    lines = [f"{config}: {_unknown(name, names)}" for name in table if name not in names]
    known = {name: value for name, value in table.items() if name in names}
    # pydantic ranks keyword arguments above the environment, but the file must rank below it.
    values = {**known, **EnvSettingsSource(kind)(), **flags}
    try:
        settings = kind(**values)
    except ValidationError as error:
        lines += [_line(kind, details) for details in error.errors()]
    except SettingsError as error:
        lines.append(str(error))
    if lines:
        raise SettingsError("\n".join(lines))
    return settings


def merged(
    current: Settings, fresh: Settings, reloadable: Collection[str]
) -> tuple[Settings, list[str], list[str]]:
    """Apply the reloadable settings among those that have changed.

    Args:
        current: Settings in use.
        fresh: Settings as loaded now.
        reloadable: Names of the settings that may change at runtime.

    Returns:
        The settings to use, the names of those that changed, and the names of those whose new
        values need a restart.
    """
    names = type(current).model_fields
    differing = [name for name in names if getattr(current, name) != getattr(fresh, name)]
    changed = [name for name in differing if name in reloadable]
    settings = current.model_copy(update={name: getattr(fresh, name) for name in changed})
    return settings, changed, [name for name in differing if name not in reloadable]


def _read_table(path: Path, is_reload: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text_file(path, is_reload=is_reload).decode())
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        raise SettingsError(f"{path}: {reason(error)}") from error
    except RecursionError as error:  # tomllib recurses for each bracket
        raise SettingsError(f"{path}: nested too deeply") from error


def _unknown(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names)
    if close:
        return f"unknown setting {name!r}; did you mean {' or '.join(close)}?"
    return f"unknown setting {name!r}; the settings are {', '.join(names)}"


def _line(kind: type[ServiceSettings], details: Any) -> str:
    name = details["loc"][0]
    allowed = kind.model_fields[name].description
    return f"{name}: {_text(details['input'])!r}: {allowed}"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case list() | tuple():
            return ",".join(map(_text, value))
    return str(value)
