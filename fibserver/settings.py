"""Settings: their names, defaults and bounds.

They come from the defaults here, `FIBSERVER_*` environment variables and the command line,
later ones winning.
"""

import ipaddress
import os
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fibclient.address import DEFAULT_ADDRESS, parse_address

__all__ = ["Settings", "SettingsError", "load_settings"]

MIB = 1024 * 1024


class SettingsError(Exception):
    """A setting that cannot be: one line for each, with its name, value and what is allowed."""


TIB = 1024**4


def _bytes(default: int, least: int) -> Any:
    return Field(default=ByteSize(default), ge=least, le=TIB)


class Settings(BaseSettings):
    """The settings of one server; sizes are bytes or texts such as `64MiB`, times seconds."""

    model_config = SettingsConfigDict(env_prefix="FIBSERVER_", frozen=True, extra="forbid")

    listen: Annotated[tuple[str, ...], NoDecode] = Field((DEFAULT_ADDRESS,), min_length=1)
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=1024)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    memory_limit: ByteSize = _bytes(512 * MIB, MIB)
    max_answer_bytes: ByteSize = _bytes(2048 * MIB, 1)
    max_index: int = Field(10_000_000, ge=0, le=10**12)
    max_clients: int = Field(10_000, ge=1)
    idle_timeout: float = Field(300, gt=0)
    request_timeout: float = Field(60, gt=0)
    drain_timeout: float = Field(10, ge=0)
    allow_unauthenticated: bool = False

    @field_validator("listen", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("listen")
    @classmethod
    def _parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_address(text)
        return value

    @model_validator(mode="after")
    def _refuse_exposure(self) -> Self:
        for text in self.listen:
            address = parse_address(text)
            if not (address.path or self.allow_unauthenticated or _is_loopback(address.host)):
                raise ValueError(
                    f"listen: {text!r} can be reached from other machines; "
                    "without a password that needs allow_unauthenticated"
                )
        return self

    def as_text(self) -> dict[str, str]:
        """Return every setting with its value as people write it."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }


def load_settings(**flags: object) -> Settings:
    """Return the settings in force.

    Args:
        flags: those given on the command line.

    Raises:
        SettingsError: one or more are bad.
    """
    try:
        return Settings(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(map(_line, error.errors()))) from None


def _line(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = ".".join(map(str, error["loc"]))
    return f"{name}: {error['input']!r}: {message}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
