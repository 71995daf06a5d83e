"""Addresses: how people write where a server listens."""

from typing import NamedTuple

__all__ = ["DEFAULT_ADDRESS", "Address", "Target", "parse_address", "parse_addresses"]

DEFAULT_ADDRESS = "127.0.0.1:11235"


class Address(NamedTuple):
    """A TCP address, or the path of a Unix socket.

    Attributes:
        host: a name or an IP address; empty for a Unix socket.
        port: 0 to 65535; 0 lets a server choose one.
        path: of a Unix socket; empty for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Target(NamedTuple):
    """One place to connect to; the name of a host may lead to several.

    Attributes:
        family: of its socket: AF_INET, AF_INET6 or AF_UNIX.
        name: what connect() takes.
        address: as people wrote it.
    """

    family: int
    name: str | tuple[str, int] | tuple[str, int, int, int]
    address: Address

    def __str__(self) -> str:
        if isinstance(self.name, str) or self.name[0] == self.address.host:
            return str(self.address)
        return f"{self.address} ({self.name[0]})"


def parse_addresses(text: str) -> list[Address]:
    """Parse addresses with commas between them; one that stands twice counts once.

    Raises:
        ValueError: one of them is none, or there is none at all.
    """
    return list(dict.fromkeys(parse_address(part.strip()) for part in text.split(",")))


def parse_address(text: str) -> Address:
    """Parse `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`.

    Raises:
        ValueError: it is none of these; the message says so.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"address {text!r}: the path of a Unix socket must be absolute")
        return Address(path=path)
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or (":" in host) != is_bracketed or not is_number or int(port) > 65535:
        raise ValueError(f"address {text!r} is neither HOST:PORT nor unix:/path")
    return Address(host.strip("[]") if is_bracketed else host, int(port))
