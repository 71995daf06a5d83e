"""Settings of fibserver: names, defaults, bounds, and which can be reloaded.

`fibcommon.configuration.settings` loads them. The description of each field states the allowed
values; error messages quote it.
"""

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from fibcommon.addresses import DEFAULT_ADDRESS, Address, parse_address
from fibcommon.configuration.settings import (
    AbsolutePath,
    AddressText,
    LogFormat,
    LogLevel,
    OptionalPath,
    Seconds,
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
from fibcommon.service.machine import usable_processors

__all__ = ["RELOADABLE", "Settings", "is_exposed", "load_settings", "reloaded"]

MIB = 1024**2

RELOADABLE = frozenset(
    {
        "log_level",
        "log_format",
        "max_answer_bytes",
        "max_clients",
        "max_output_bytes",
        "idle_timeout",
        "request_timeout",
        "drain_timeout",
        "password_file",
    }
)
"""Settings that can change at run time; sockets, memory and workers depend on the others."""


def _resolve_auto(value: object) -> object:
    return usable_processors() if value == "auto" else value


class Settings(ServiceSettings):
    """Settings of one server: sizes in bytes or as text such as `64MiB`, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="FIBSERVER_", frozen=True, extra="forbid")

    listen: Annotated[
        tuple[AddressText, ...],
        BeforeValidator(split),
        NoDecode,
    ] = Field(
        default=(DEFAULT_ADDRESS,),
        description="must be HOST:PORT or unix:/path, or a comma-separated list of these",
    )
    workers: Annotated[Whole, BeforeValidator(_resolve_auto)] = Field(
        default_factory=usable_processors,
        ge=1,
        le=1024,
        description="must be a whole number from 1 to 1,024, or auto for one per core",
    )
    state_dir: Annotated[AbsolutePath | None, BeforeValidator(none_if_empty)] = Field(
        default=None, description="must be the absolute path of a directory"
    )
    metrics_listen: Annotated[TcpAddressText | None, BeforeValidator(none_if_empty)] = Field(
        default=None, description="must be HOST:PORT"
    )
    password_file: OptionalPath = Field(default=None, description="must be the path of a file")
    allow_unauthenticated: bool = Field(default=False, description="must be true or false")
    log_level: LogLevel = one_of("info", LogLevel)
    log_format: LogFormat = one_of("plain", LogFormat)
    memory_limit: Size = size(512 * MIB, MIB, "1MiB")
    max_answer_bytes: Size = size(2048 * MIB, 1, "1 byte")
    max_index: Whole = whole(10_000_000, 0, 10**12)
    max_clients: Whole = whole(10_000, 1, 1_000_000)
    max_output_bytes: Size = size(64 * MIB, MIB, "1MiB")
    idle_timeout: Seconds = seconds(0, is_zero_allowed=True)
    request_timeout: Seconds = seconds(60)
    drain_timeout: Seconds = seconds(10, is_zero_allowed=True)

    @model_validator(mode="after")
    def _refuse_exposure(self) -> Self:
        self.check_exposure(map(parse_address, self.listen))
        return self

    def check_exposure(self, addresses: Iterable[Address]) -> None:
        """Reject addresses that other machines can reach, unless the settings permit them.

        Args:
            addresses: Where the server listens or will listen.

        Raises:
            SettingsError: Other machines can reach an address, and neither `password_file` nor
                `allow_unauthenticated` is set.
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


def load_settings(
    config: Path | None = None, *, is_reload: bool = False, **flags: object
) -> Settings:
    """Return the settings from file, environment and command line.

    Args:
        config: TOML file with settings.
        is_reload: Whether the server is already running.
        flags: Settings from the command line.

    Raises:
        SettingsError: A setting is invalid, or the file cannot be read.
    """
    return load(Settings, config, is_reload=is_reload, **flags)


def reloaded(current: Settings, fresh: Settings) -> tuple[Settings, list[str], list[str]]:
    """Merge the reloadable settings of `fresh` into `current`.

    The content of `password_file` is not compared: the caller reads the file again.

    Args:
        current: Settings that the server runs with.
        fresh: Settings that were loaded just now.

    Returns:
        The merged settings, the names that changed, and the names whose new values need a
        restart.

    Raises:
        SettingsError: The new password settings would expose a listener, or `password_file` is
            missing, as in a file that is only partly written.
    """
    if current.password_file and not fresh.password_file and not _is_given(fresh):
        raise SettingsError('password_file: not set any more; set it to "" to require no password')
    settings, changed, need_restart = merged(current, fresh, RELOADABLE)
    settings.check_exposure(map(parse_address, settings.listen))
    return settings, changed, need_restart


def _is_given(settings: Settings) -> bool:
    """Return whether `password_file` is set, even to an empty value."""
    return "password_file" in settings.model_fields_set


def is_exposed(address: Address) -> bool:
    """Return whether other machines can reach a server at this address."""
    return not address.path and not _is_loopback(address.host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
