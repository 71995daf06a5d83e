"""Settings of fibserver: names, defaults, bounds, purposes, and which can be reloaded."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from fibcommon.addresses import DEFAULT_ADDRESS, Address, parse_address
from fibcommon.configuration import values
from fibcommon.configuration.settings import ServiceSettings, setting
from fibcommon.limits import Limits
from fibcommon.service.errors import SettingsError
from fibcommon.service.resource_limits import usable_processors

__all__ = ["ServerSettings", "is_exposed"]


@dataclass(frozen=True, kw_only=True)
class ServerSettings(ServiceSettings):
    """Settings of fibserver. Sockets, memory and workers depend on those that need a restart."""

    PREFIX: ClassVar = "FIBSERVER_"

    listen: tuple[str, ...] = setting(
        [DEFAULT_ADDRESS],
        values.ADDRESSES,
        "The addresses that clients connect to. One that other machines can reach requires "
        "`password_file` or `allow_unauthenticated`. Sockets passed by systemd replace them.",
    )
    workers: int = setting(
        "auto", values.whole(1, 1024, usable_processors), "The number of worker processes."
    )
    state_dir: Path | None = setting(
        "",
        values.optional(values.ABSOLUTE_PATH),
        "The directory that keeps large computed numbers across restarts. Empty: none.",
    )
    state_limit: int = setting(
        "2GiB",
        values.size("1MiB"),
        "The maximum size of the files in `state_dir`; those used longest ago are removed.",
    )
    metrics_listen: str | None = setting(
        "",
        values.optional(values.TCP_ADDRESS),
        "The address that serves metrics for Prometheus. Empty: none.",
    )
    password_file: Path | None = setting(
        "",
        values.optional(values.PATH),
        "The file whose first line, 1 to 512 bytes, is the password that clients must send. "
        "Empty: no password.",
        is_reloadable=True,
    )
    allow_unauthenticated: bool = setting(
        False, values.BOOLEAN, "Whether to serve other machines without a password."
    )
    memory_limit: int = setting(
        "512MiB",
        values.size("1MiB"),
        "The maximum memory for computed numbers, all formats together. It is allocated in "
        "/dev/shm when needed. Replies may be larger: numbers that are not kept are streamed.",
    )
    max_answer_bytes: int = setting(
        "2GiB",
        values.size("1 byte"),
        "The maximum size of a reply; a request for a larger one is rejected at once.",
        is_reloadable=True,
    )
    max_index: int = setting(
        10_000_000, values.whole(0, 10**12), "The maximum n of a number in a reply."
    )
    max_clients: int = setting(
        10_000,
        values.whole(1, 1_000_000),
        "The maximum number of connected clients, which the limit of open files may lower. When "
        "it is reached, the client that has been idle for longest is disconnected for a new one.",
        is_reloadable=True,
    )
    max_output_bytes: int = setting(
        "64MiB",
        values.size("1MiB"),
        "The maximum memory for replies that clients have not read, all clients together; shared "
        "memory does not count. Beyond it the slowest reader is disconnected.",
        is_reloadable=True,
    )
    idle_timeout: float = setting(
        0,
        values.seconds(is_zero_allowed=True),
        "The seconds without a request after which a connection is closed; 0: never. TCP "
        "keepalive closes those of vanished clients within ten minutes.",
        is_reloadable=True,
    )
    request_timeout: float = setting(
        60,
        values.seconds(),
        "The seconds without progress after which a reply fails.",
        is_reloadable=True,
    )
    drain_timeout: float = setting(
        10,
        values.seconds(is_zero_allowed=True),
        "The seconds that replies in progress may take after SIGTERM.",
        is_reloadable=True,
    )

    @property
    def limits(self) -> Limits:
        """The limits on each reply."""
        return Limits(self.max_index, self.max_answer_bytes)

    def check(self) -> None:
        """Check that the addresses may be listened on; see `check_exposure`."""
        self.check_exposure(map(parse_address, self.listen))

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
            f"listen: {str(address)!r}: other machines can reach this address: set password_file "
            "to require a password, or allow_unauthenticated = true to serve them without one"
            for address in addresses
            if is_exposed(address)
        ]
        if lines:
            raise SettingsError("\n".join(lines))

    def reloaded(self, fresh: Self) -> tuple[Self, list[str], list[str]]:
        """Apply the reloadable settings; see `ServiceSettings.reloaded`.

        The content of `password_file` is not compared: the caller reads the file again.

        Raises:
            SettingsError: The new settings would expose a listener, or `password_file` is missing,
                as in a file that is only partly written.
        """
        if self.password_file and "password_file" not in fresh.given:
            raise SettingsError(
                'password_file: not set any more: set it again, or to "" to require no password'
            )
        return super().reloaded(fresh)


def is_exposed(address: Address) -> bool:
    """Return whether other machines can reach a server at this address."""
    return not address.path and not _is_loopback(address.host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
