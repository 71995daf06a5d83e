"""Settings: their names, defaults and bounds, where they come from, and which may change.

They come from the defaults here, a TOML file, `FIBSERVER_*` environment variables and the
command line, later ones winning. The environment is read by name, and nothing else in it is
looked at: Kubernetes sets FIBSERVER_PORT and more of its own accord.

The description of each field says what is allowed, in the words that a bad value is answered
with.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from fibclient.address import DEFAULT_ADDRESS, Address, parse_address

__all__ = [
    "RELOADABLE",
    "Settings",
    "SettingsError",
    "is_exposed",
    "load_settings",
    "read_password",
    "reloaded",
]

MIB = 1024**2
TIB = 1024**4
YEAR_SECONDS = 365 * 86_400
MAX_PASSWORD_BYTES = 512
"""A password travels in one request; this leaves room for the user's name beside it."""

RELOADABLE = frozenset(
    {
        "log_level",
        "log_format",
        "max_answer_bytes",
        "max_clients",
        "idle_timeout",
        "request_timeout",
        "drain_timeout",
        "password_file",
    }
)
"""What may change while the server runs; the rest is built into sockets, memory and workers."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["plain", "json"]


class SettingsError(Exception):
    """Settings that cannot be: one line for each, with its name, value and what is allowed."""


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):  # TOML has a type for it; to Python it is a number
        raise ValueError
    return value


def _count_cores(value: object) -> object:
    return len(os.sched_getaffinity(0)) if value == "auto" else value


def _split(value: object) -> object:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not parts:
        raise ValueError
    return parts


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _check_tcp_address(text: str) -> str:
    if parse_address(text).path:
        raise ValueError
    return text


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError
    return path


def _none_if_empty(value: object) -> object:
    return None if value == "" else value  # how a file or the environment unsets it


_Whole = Annotated[int, BeforeValidator(_refuse_bool)]
_Size = Annotated[ByteSize, BeforeValidator(_refuse_bool)]
_Seconds = Annotated[float, BeforeValidator(_refuse_bool)]


def _whole(default: int, least: int, most: int) -> Any:
    allowed = f"must be a whole number from {least:,} to {most:,}"
    return Field(default, ge=least, le=most, description=allowed)


def _size(default: int, least: int, least_text: str) -> Any:
    allowed = f"must be a size such as 64MiB, from {least_text} to 1TiB"
    return Field(ByteSize(default), ge=least, le=TIB, description=allowed)


def _seconds(default: float, *, is_zero_allowed: bool = False) -> Any:
    least = "from 0" if is_zero_allowed else "above 0"
    allowed = f"must be a number of seconds {least} up to {YEAR_SECONDS:,} (a year)"
    if is_zero_allowed:
        return Field(default, ge=0, le=YEAR_SECONDS, description=allowed)
    return Field(default, gt=0, le=YEAR_SECONDS, description=allowed)


def _one_of(default: str, choices: object) -> Any:
    *others, last = get_args(choices)
    return Field(default, description=f"must be {', '.join(others)} or {last}")


class Settings(BaseSettings):
    """The settings of one server; sizes are bytes or texts such as `64MiB`, times seconds."""

    model_config = SettingsConfigDict(env_prefix="FIBSERVER_", frozen=True, extra="forbid")

    listen: Annotated[
        tuple[Annotated[str, AfterValidator(_check_address)], ...],
        BeforeValidator(_split),
        NoDecode,
    ] = Field(
        default=(DEFAULT_ADDRESS,),
        description="must be HOST:PORT or unix:/path, or several of these with commas",
    )
    workers: Annotated[_Whole, BeforeValidator(_count_cores)] = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=1024,
        description="must be a whole number from 1 to 1,024, or auto for one a core",
    )
    state_dir: Annotated[
        Annotated[Path, AfterValidator(_check_absolute)] | None, BeforeValidator(_none_if_empty)
    ] = Field(default=None, description="must be the absolute path of a folder")
    metrics_listen: Annotated[
        Annotated[str, AfterValidator(_check_tcp_address)] | None, BeforeValidator(_none_if_empty)
    ] = Field(default=None, description="must be HOST:PORT")
    password_file: Annotated[Path | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, description="must be the path of a file"
    )
    allow_unauthenticated: bool = Field(default=False, description="must be true or false")
    log_level: LogLevel = _one_of("info", LogLevel)
    log_format: LogFormat = _one_of("plain", LogFormat)
    memory_limit: _Size = _size(512 * MIB, MIB, "1MiB")
    max_answer_bytes: _Size = _size(2048 * MIB, 1, "1 byte")
    max_index: _Whole = _whole(10_000_000, 0, 10**12)
    max_clients: _Whole = _whole(10_000, 1, 1_000_000)
    idle_timeout: _Seconds = _seconds(300)
    request_timeout: _Seconds = _seconds(60)
    drain_timeout: _Seconds = _seconds(10, is_zero_allowed=True)

    @model_validator(mode="after")
    def _refuse_exposure(self) -> Self:
        self.check_exposure(map(parse_address, self.listen))
        return self

    def check_exposure(self, addresses: Iterable[Address]) -> None:
        """Refuse to serve other machines without a password, unless that is asked for.

        Args:
            addresses: where the server listens, or is going to.

        Raises:
            SettingsError: some of them can be reached from other machines.
        """
        if self.password_file is not None or self.allow_unauthenticated:
            return
        lines = [
            f"listen: {str(address)!r}: can be reached from other machines, "
            "which needs password_file or allow_unauthenticated"
            for address in addresses
            if is_exposed(address)
        ]
        if lines:
            raise SettingsError("\n".join(lines))

    def as_text(self) -> dict[str, str]:
        """Return every setting with its value as people write it; empty is not set."""
        return {name: _text(getattr(self, name)) for name in type(self).model_fields}


def load_settings(config: Path | None = None, **flags: object) -> Settings:
    """Return the settings in force.

    Args:
        config: a TOML file, if there is one.
        flags: those given on the command line.

    Raises:
        SettingsError: one or more are bad, or the file cannot be read.
    """
    table = _read_table(config) if config else {}
    lines = [f"{config}: {_unknown(name)}" for name in table if name not in Settings.model_fields]
    known = {name: value for name, value in table.items() if name in Settings.model_fields}
    # pydantic ranks all arguments above the environment, which ranks above our file.
    values = {**known, **EnvSettingsSource(Settings)(), **flags}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        lines += map(_line, error.errors())
    except SettingsError as error:
        lines.append(str(error))
    if lines:
        raise SettingsError("\n".join(lines))
    return settings


def reloaded(current: Settings, fresh: Settings) -> tuple[Settings, list[str], list[str]]:
    """Work out what a reload changes.

    The content of `password_file` is not compared: whoever reloads reads it again.

    Args:
        current: what the server runs with.
        fresh: what it would start with now.

    Returns:
        The settings to run with, the names that changed, and the names whose new values need
        a restart.

    Raises:
        SettingsError: where the server listens now does not go with the new password settings.
    """
    differing = [
        name for name in Settings.model_fields if getattr(current, name) != getattr(fresh, name)
    ]
    changed = [name for name in differing if name in RELOADABLE]
    settings = current.model_copy(update={name: getattr(fresh, name) for name in changed})
    settings.check_exposure(map(parse_address, settings.listen))
    return settings, changed, [name for name in differing if name not in RELOADABLE]


def read_password(path: Path) -> bytes:
    """Return the first line of a password file, without its end.

    Raises:
        SettingsError: it cannot be read, or is empty or too long.
    """
    name = f"password_file: {str(path)!r}"
    try:
        with path.open("rb") as file:
            # Two more bytes for the end of the line, one to see that there is too much.
            line = file.readline(MAX_PASSWORD_BYTES + 3)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SettingsError(f"{name}: cannot be read: {_reason(error)}") from error
    password = line.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(password) <= MAX_PASSWORD_BYTES:
        raise SettingsError(
            f"{name}: its first line, the password, must have 1 to {MAX_PASSWORD_BYTES} bytes"
        )
    return password


def is_exposed(address: Address) -> bool:
    """Return whether other machines can reach a server that listens there."""
    return not address.path and not _is_loopback(address.host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not even text
        raise SettingsError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields)
    if close:
        return f"unknown setting {name!r}; did you mean {' or '.join(close)}?"
    return f"unknown setting {name!r}; the settings are {', '.join(Settings.model_fields)}"


def _line(error: Any) -> str:
    name = error["loc"][0]
    allowed = Settings.model_fields[name].description
    return f"{name}: {_text(error['input'])!r}: {allowed}"


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
