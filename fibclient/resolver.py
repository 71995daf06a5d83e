"""Where an address leads: the places to connect to, as the system's resolver tells now."""

import socket
from typing import cast

from fibclient.address import Address, Target
from fibclient.errors import ServerUnreachable

__all__ = ["resolve"]


def resolve(address: Address) -> list[Target]:
    """Return all the places that an address leads to, the preferred ones first.

    Raises:
        ServerUnreachable: the host's name is not known.
    """
    if address.path:
        return [Target(socket.AF_UNIX, address.path, address)]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerUnreachable(f"cannot resolve {address}: {error.strerror}") from error
    # A name may be listed twice in a hosts file.
    names = dict.fromkeys((entry[0], entry[4]) for entry in found)
    return [Target(family, cast("tuple[str, int]", name), address) for family, name in names]
