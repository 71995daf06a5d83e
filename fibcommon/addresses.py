"""Addresses: how people write where a server listens."""

from typing import NamedTuple

__all__ = [
    "DEFAULT_ADDRESS",
    "Address",
    "ResolvedAddress",
    "parse_address",
    "parse_addresses",
    "parse_server",
    "plain_host",
]

DEFAULT_ADDRESS = "127.0.0.1:11235"

_MAPPED = "::ffff:"


class Address(NamedTuple):
    """A TCP address, the path of a Unix socket, or a name whose SRV records have the addresses.

    Attributes:
        host: a name or an IP address; empty for the others.
        port: 0 to 65535; 0 lets a server choose one.
        path: of a Unix socket, or empty.
        service: a name such as `_fibserver._tcp.example.org` (RFC 2782), or empty.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    service: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.service:
            return f"srv:{self.service}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class ResolvedAddress(NamedTuple):
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
        if self.address.service:
            return f"{self.address} ({Address(self.name[0], self.name[1])})"
        return f"{self.address} ({self.name[0]})"


def plain_host(host: str) -> str:
    """Return an IP address as people write it: of an IPv4-mapped IPv6 address the IPv4 one.

    Args:
        host: as the kernel has it, such as `::ffff:192.0.2.1`, a client of a dual-stack socket.
    """
    return host.removeprefix(_MAPPED) if "." in host else host


def parse_addresses(text: str) -> list[Address]:
    """Parse addresses of servers, with commas between them; one that stands twice counts once.

    Raises:
        ValueError: one of them is none, or there is none at all.
    """
    return list(dict.fromkeys(parse_server(part.strip()) for part in text.split(",")))


def parse_server(text: str) -> Address:
    """Parse what `parse_address` does, or `srv:NAME`: where a client may look for servers.

    Raises:
        ValueError: it is none of these; the message says so.
    """
    if not text.startswith("srv:"):
        return parse_address(text)
    name = text.removeprefix("srv:")
    if not name.startswith("_") or "._" not in name:
        raise ValueError(
            f"address {text!r}: srv: wants a name such as _fibserver._tcp.example.org"
        )
    return Address(service=name)


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
