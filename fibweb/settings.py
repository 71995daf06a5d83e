"""Settings of fibweb: names, defaults, bounds, purposes, and which can be reloaded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fibcommon.addresses import DEFAULT_ADDRESS, parse_server
from fibcommon.configuration import values
from fibcommon.configuration.passwords import read_password
from fibcommon.configuration.settings import ServiceSettings, setting
from fibcommon.service.errors import SettingsError

__all__ = ["DEFAULT_LISTEN", "WebSettings", "servers_password"]

DEFAULT_LISTEN = "127.0.0.1:8080"

# As browsers send it: in lower case, without a path or a trailing slash.
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+")

# Segments of unreserved characters (RFC 3986), which need no percent-encoding.
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, kw_only=True)
class WebSettings(ServiceSettings):
    """Settings of fibweb. Sockets, processes and caches depend on those that need a restart."""

    PREFIX: ClassVar = "FIBWEB_"

    listen: tuple[str, ...] = setting(
        [DEFAULT_LISTEN],
        values.ADDRESSES,
        "The addresses that HTTP clients connect to. Sockets passed by systemd replace them.",
    )
    metrics_listen: str | None = setting(
        "",
        values.optional(values.TCP_ADDRESS),
        "The only address that serves `/metrics`, unless systemd passes a socket named `metrics`. "
        "Empty: those of `listen`.",
    )
    servers: tuple[str, ...] = setting(
        [DEFAULT_ADDRESS],
        values.comma_separated(
            parse_server,
            "HOST, HOST:PORT, unix:/path or srv:NAME, or a comma-separated list of these",
        ),
        "The fibservers; the default port is 11235. All addresses of a name are used; `srv:` "
        "looks up SRV records.",
    )
    public_server: str | None = setting(
        "",
        values.optional(values.TCP_ADDRESS),
        "The address at which visitors of the page reach a fibserver: the page has commands for "
        "redis-cli. Empty: they reach none.",
    )
    embedded: bool = setting(
        False,
        values.BOOLEAN,
        "Whether to start a private fibserver, and use that instead of `servers`.",
    )
    password_file: Path | None = setting(
        "",
        values.optional(values.PATH),
        "The file whose first line, 1 to 512 bytes, is the password of the fibservers; an "
        "embedded one has none. Empty: no password.",
    )
    processes: int = setting(
        1,
        values.whole(1, 64),
        "The number of serving processes. With more than one, a supervisor replaces those that "
        "die.",
    )
    threads: int = setting(
        4,
        values.whole(1, 256),
        "The number of requests in each process that wait for fibservers at a time, at most half "
        "of them for expensive numbers. Further ones wait in a queue, the cheapest first.",
    )
    max_clients: int = setting(
        10_000,
        values.whole(1, 1_000_000),
        "The maximum number of clients connected to each process, which the limit of open files "
        "may lower. When it is reached, the client that has been idle for longest is disconnected "
        "for a new one.",
    )
    max_connections: int = setting(
        16,
        values.whole(1, 1000),
        "The maximum number of connections of each process to fibservers.",
    )
    cache_bytes: int = setting(
        "64MiB",
        values.size("0"),
        "The maximum memory of each process for cached numbers; 0: no cache.",
    )
    max_output_bytes: int = setting(
        "64MiB",
        values.size("1MiB"),
        "The maximum memory of each process for responses that clients have not read. Beyond it "
        "the slowest reader gives way.",
    )
    timeout: float = setting(
        60,
        values.seconds(),
        "The seconds that a request to fibservers may take, retries included.",
    )
    drain_timeout: float = setting(
        10,
        values.seconds(is_zero_allowed=True),
        "The seconds that responses in progress may take after SIGTERM.",
        is_reloadable=True,
    )
    allowed_origins: tuple[str, ...] = setting(
        "",
        values.comma_separated(
            lambda origin: _match(_ORIGIN, origin),
            "comma-separated origins such as https://example.org, or *, or empty",
            minimum=0,
        ),
        "The origins whose pages may read responses (CORS); `*`: all.",
    )
    root_path: str = setting(
        "",
        values.text(
            lambda path: _match(_ROOT_PATH, path),
            "a path such as /numbers, without a trailing slash, or empty",
        ),
        "The path prefix that a proxy does not strip. Paths without it work as well.",
    )
    access_log: bool = setting(
        False,
        values.BOOLEAN,
        "Whether to log each request. Failures are logged in any case.",
        is_reloadable=True,
    )


def servers_password(settings: WebSettings) -> str | None:
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
        raise SettingsError(f"password_file: {name!r}: the password is not UTF-8") from error


def _match(pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError
