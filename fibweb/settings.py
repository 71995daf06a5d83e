"""Settings of fibweb: their names, defaults and bounds, and which may change.

Where they come from is `fibcommon.configuration.settings`. The description of each field says what
is allowed, in the words that a bad value is answered with.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from fibcommon.addresses import DEFAULT_ADDRESS
from fibcommon.configuration.passwords import read_password
from fibcommon.configuration.settings import (
    AddressText,
    LogFormat,
    LogLevel,
    OptionalPath,
    Seconds,
    ServerText,
    ServiceSettings,
    Size,
    TcpAddressText,
    Whole,
    load,
    merged,
    none_if_empty,
    one_of,
    seconds,
    size,
    split,
    whole,
)
from fibcommon.service.errors import SettingsError

__all__ = [
    "DEFAULT_LISTEN",
    "RELOADABLE",
    "Settings",
    "load_settings",
    "reloaded",
    "servers_password",
]

MIB = 1024**2

DEFAULT_LISTEN = "127.0.0.1:8080"

RELOADABLE = frozenset({"log_level", "log_format", "access_log", "drain_timeout"})
"""What may change while fibweb runs; the rest is built into sockets, processes and caches."""

_ADDRESSES = "must be HOST:PORT or unix:/path, or several of these with commas"
_SERVERS = "must be HOST:PORT, unix:/path or srv:NAME, or several of these with commas"

# As browsers send it: lower case, no path, not even a slash.
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+")


def _check_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError
    return text


# As waitress has it: segments of characters that need no encoding.
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _check_root_path(text: str) -> str:
    if not _ROOT_PATH.fullmatch(text):
        raise ValueError
    return text


def _none_or_split(value: object) -> object:
    return split(value) if value else ()


class Settings(ServiceSettings):
    """The settings of one fibweb; sizes are bytes or texts such as `64MiB`, times seconds."""

    model_config = SettingsConfigDict(env_prefix="FIBWEB_", frozen=True, extra="forbid")

    listen: Annotated[tuple[AddressText, ...], BeforeValidator(split), NoDecode] = Field(
        default=(DEFAULT_LISTEN,), description=_ADDRESSES
    )
    metrics_listen: Annotated[TcpAddressText | None, BeforeValidator(none_if_empty)] = Field(
        default=None, description="must be HOST:PORT"
    )
    servers: Annotated[tuple[ServerText, ...], BeforeValidator(split), NoDecode] = Field(
        default=(DEFAULT_ADDRESS,), description=_SERVERS
    )
    embedded: bool = Field(default=False, description="must be true or false")
    password_file: OptionalPath = Field(default=None, description="must be the path of a file")
    processes: Whole = whole(1, 1, 64)
    threads: Whole = whole(4, 1, 256)
    max_connections: Whole = whole(16, 1, 1000)
    max_clients: Whole = whole(10_000, 1, 1_000_000)
    cache_bytes: Size = size(64 * MIB, 0, "0")
    max_output_bytes: Size = size(64 * MIB, MIB, "1MiB")
    timeout: Seconds = seconds(60)
    drain_timeout: Seconds = seconds(10, is_zero_allowed=True)
    allowed_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_check_origin)], ...],
        BeforeValidator(_none_or_split),
        NoDecode,
    ] = Field(
        default=(),
        description="must be origins such as https://example.org with commas, or *, or empty",
    )
    root_path: Annotated[str, AfterValidator(_check_root_path)] = Field(
        default="",
        description="must be a path such as /numbers, without a slash at its end, or empty",
    )
    access_log: bool = Field(default=False, description="must be true or false")
    log_level: LogLevel = one_of("info", LogLevel)
    log_format: LogFormat = one_of("plain", LogFormat)


def load_settings(
    config: Path | None = None, *, is_reload: bool = False, **flags: object
) -> Settings:
    """Return the settings in force.

    Args:
        config: a TOML file, if there is one.
        is_reload: whether the service has started already.
        flags: those given on the command line.

    Raises:
        SettingsError: one or more are bad, or the file cannot be read.
    """
    return load(Settings, config, is_reload=is_reload, **flags)


def reloaded(current: Settings, fresh: Settings) -> tuple[Settings, list[str], list[str]]:
    """Work out what a reload changes.

    Args:
        current: what fibweb runs with.
        fresh: what it would start with now.

    Returns:
        The settings to run with, the names that changed, and the names whose new values need
        a restart.
    """
    return merged(current, fresh, RELOADABLE)


def servers_password(settings: Settings) -> str | None:
    """Return the password of the fibservers, None without one.

    Raises:
        SettingsError: its file cannot be read, or has none that can be used.
    """
    if settings.password_file is None or settings.embedded:
        return None
    try:
        return read_password(settings.password_file).decode()
    except UnicodeDecodeError as error:
        name = str(settings.password_file)
        raise SettingsError(f"password_file: {name!r}: must be UTF-8") from error
