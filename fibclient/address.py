"""Addresses: how people write where a server listens."""

from typing import NamedTuple

__all__ = ["DEFAULT_ADDRESS", "Address", "parse_address"]

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
