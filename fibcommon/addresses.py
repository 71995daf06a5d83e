"""Server addresses: their types, and parsers of their text form."""

from typing import NamedTuple

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_PORT",
    "Address",
    "ResolvedAddress",
    "parse_address",
    "parse_addresses",
    "parse_server",
    "plain_host",
]

DEFAULT_PORT = 11235
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"

_SHOWN_CHARACTERS = 100
"""Length to which a text is cut in a message."""

_MAPPED = "::ffff:"


class Address(NamedTuple):
    """A TCP address, the path of a Unix socket, or the name of SRV records.

    Attributes:
        host: Host name or IP address; empty for the other kinds.
        port: 0 to 65535; for a listener, 0 lets the kernel choose.
        path: Path of a Unix socket, or empty.
        service: Name of SRV records such as `_fibserver._tcp.example.org` (RFC 2782), or empty.
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
    """One of the socket addresses that an `Address` resolves to.

    Attributes:
        family: AF_INET, AF_INET6 or AF_UNIX.
        name: Argument of connect().
        address: The address that was resolved.
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
    """Return an IP address, with an IPv4-mapped IPv6 address converted to IPv4.

    Args:
        host: IP address from the kernel, such as `::ffff:192.0.2.1` for an IPv4 client of a
            dual-stack socket.
    """
    return host.removeprefix(_MAPPED) if "." in host else host


def parse_addresses(text: str) -> list[Address]:
    """Parse comma-separated server addresses; duplicates are removed.

    Raises:
        ValueError: An address is invalid or empty.
    """
    return list(dict.fromkeys(parse_server(part.strip()) for part in text.split(",")))


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])


def parse_server(text: str) -> Address:
    """Parse the address of a server: any that `parse_address` accepts, `HOST`, or `srv:NAME`.

    Raises:
        ValueError: The text is not an address.
    """
    if not text.startswith("srv:"):
        return parse_address(f"{text}:{DEFAULT_PORT}" if _is_host(text) else text)
    name = text.removeprefix("srv:")
    if not name.startswith("_") or "._" not in name:
        raise ValueError(
            f"address {_shown(text)}: srv: requires a name such as _fibserver._tcp.example.org"
        )
    return Address(service=name)


def _is_host(text: str) -> bool:
    """Return whether a text is a host without a port.

    IPv6 addresses need brackets: the end of `fe80::1:8080` may be meant as a port. A number alone
    is a port without its host, not the IPv4 address that a resolver would make of it.
    """
    if text.startswith("["):
        return text.endswith("]")
    return not (":" in text or "/" in text or text.isdigit() or text.split() != [text])


def parse_address(text: str) -> Address:
    """Parse `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`.

    Raises:
        ValueError: The text is not an address.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"address {_shown(text)}: the path of a Unix socket must be absolute")
        return Address(path=path)
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or (":" in host) != is_bracketed or not is_number or int(port) > 65535:
        raise ValueError(f"address {_shown(text)} is neither HOST:PORT nor unix:/path")
    return Address(host.strip("[]") if is_bracketed else host, int(port))
