"""Settings of fibweb: names, defaults, bounds, and which of them a reload may change.

`fibcommon.configuration.settings` loads them. The description of a field states the allowed
values; the error message for an invalid value quotes it.
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
"""Settings that a reload may change. The others are built into sockets, processes and caches."""

_ADDRESSES = "must be HOST:PORT or unix:/path, or a comma-separated list of these"
_SERVERS = "must be HOST:PORT, unix:/path or srv:NAME, or a comma-separated list of these"

# As browsers send it: in lower case, without a path or a trailing slash.
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+")


def _check_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError
    return text


# Segments of unreserved characters (RFC 3986), which need no percent-encoding.
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _check_root_path(text: str) -> str:
    if not _ROOT_PATH.fullmatch(text):
        raise ValueError
    return text


def _none_or_split(value: object) -> object:
    return split(value) if value else ()


class Settings(ServiceSettings):
    """Settings of one fibweb. Sizes are bytes or texts such as `64MiB`; times are seconds."""

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
        description="must be comma-separated origins such as https://example.org, or *, or empty",
    )
    root_path: Annotated[str, AfterValidator(_check_root_path)] = Field(
        default="",
        description="must be a path such as /numbers, without a trailing slash, or empty",
    )
    access_log: bool = Field(default=False, description="must be true or false")
    log_level: LogLevel = one_of("info", LogLevel)
    log_format: LogFormat = one_of("plain", LogFormat)


def load_settings(
    config: Path | None = None, *, is_reload: bool = False, **flags: object
) -> Settings:
    """Return the effective settings.

    Args:
        config: TOML file, or None.
        is_reload: Whether the service is already running.
        flags: Settings from the command line.

    Raises:
        SettingsError: A setting is invalid, or the file cannot be read.
    """
    return load(Settings, config, is_reload=is_reload, **flags)


def reloaded(current: Settings, fresh: Settings) -> tuple[Settings, list[str], list[str]]:
    """Apply the reloadable settings among those that have changed.

    Args:
        current: Settings in use.
        fresh: Settings as loaded now.

    Returns:
        The settings to use, the names of those that changed, and the names of those whose new
        values need a restart.
    """
    return merged(current, fresh, RELOADABLE)


def servers_password(settings: Settings) -> str | None:
    """Return the password of the fibservers, or None if they need none.

    Raises:
        SettingsError: The password file cannot be read or has no valid password.
    """
    if settings.password_file is None or settings.embedded:
        return None
    try:
        return read_password(settings.password_file).decode()
    except UnicodeDecodeError as error:
        name = str(settings.password_file)
        raise SettingsError(f"password_file: {name!r}: must be UTF-8") from error
