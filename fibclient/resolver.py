"""Where an address leads: the places to connect to, as the system's resolver tells now."""

import socket
import threading
import time
from collections.abc import Callable
from typing import cast

from fibclient.address import Address, Target
from fibclient.errors import DeadlineExceeded, ServerUnreachable

__all__ = ["Directory", "resolve"]

RESOLVE_SECONDS = 1.0
"""Names are resolved before a connection is opened, but not for each of many in a moment."""


def resolve(address: Address) -> list[Target]:
    """Return all the places that an address leads to, the preferred ones first.

    Raises:
        ServerUnreachable: the name is not known, or needs a library that is not there.
    """
    if address.path:
        return [Target(socket.AF_UNIX, address.path, address)]
    if address.service:
        return _targets_of_service(address)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerUnreachable(f"cannot resolve {address}: {error.strerror}") from error
    except UnicodeError as error:
        raise ServerUnreachable(f"cannot resolve {address}: not the name of a host") from error
    # A name may be listed twice in a hosts file.
    names = dict.fromkeys((entry[0], entry[4]) for entry in found)
    return [Target(family, cast("tuple[str, int]", name), address) for family, name in names]


def _targets_of_service(address: Address) -> list[Target]:
    """Return where the servers of a service are; one with an unknown name hides no others."""
    targets: dict[tuple[int, object], Target] = {}
    failure: ServerUnreachable | None = None
    for each in _servers_of_service(address):
        try:
            found = resolve(each)
        except ServerUnreachable as error:
            failure = error
        else:
            targets |= {(t.family, t.name): t._replace(address=address) for t in found}
    if failure and not targets:
        raise ServerUnreachable(f"cannot resolve {address}: {failure}") from failure
    return list(targets.values())


def _servers_of_service(address: Address) -> list[Address]:
    """Return the servers that the SRV records of a name have, those of the first priority alone.

    Weights are not heeded: clients send each request to the server that has least to do.
    """
    try:
        # The one thing in the client that is not in the standard library, and seldom wanted.
        import dns.exception
        import dns.name
        import dns.resolver
    except ImportError as error:
        raise ServerUnreachable(
            f"{address} needs dnspython: try \"pip install 'fibservice[srv]'\""
        ) from error
    try:
        records = list(dns.resolver.resolve(address.service, "SRV"))
    except dns.exception.DNSException as error:
        raise ServerUnreachable(f"cannot resolve {address}: {error}") from error
    if all(record.target == dns.name.root for record in records):
        # RFC 2782: a target "." says that the service is decidedly not to be had.
        raise ServerUnreachable(f"cannot resolve {address}: its records say that there is none")
    first = min(record.priority for record in records)
    return [
        Address(record.target.to_text(omit_final_dot=True), record.port)
        for record in records
        if record.priority == first
    ]


class Directory:
    """Where some addresses lead to, looked up again and again; for any thread."""

    def __init__(
        self,
        addresses: list[Address],
        resolve: Callable[[Address], list[Target]],
        lead_to: Callable[[Address, list[Target]], None],
    ) -> None:
        """Describe a directory; nothing is looked up yet.

        Args:
            addresses: to be looked up.
            resolve: returns where one leads to now, or raises `ServerUnreachable`.
            lead_to: is told what was found.
        """
        self._addresses = addresses
        self._resolve = resolve
        self._lead_to = lead_to
        self._lock = threading.Lock()
        self._looked_up_at = float("-inf")
        self.last_error = "the addresses of the servers lead nowhere"

    def look_up(self, deadline: float) -> None:
        """Look all addresses up, unless that was done a moment ago.

        Raises:
            DeadlineExceeded: another thread's look-up takes too long.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded("the names of the servers were not resolved in time")
        try:
            if time.monotonic() - self._looked_up_at >= RESOLVE_SECONDS:
                for address in self._addresses:
                    self._look_up_one(address)
                self._looked_up_at = time.monotonic()
        finally:
            self._lock.release()

    def _look_up_one(self, address: Address) -> None:
        try:
            targets = self._resolve(address)
        except ServerUnreachable as error:
            # What it led to before may still be there.
            self.last_error = str(error)
        else:
            self._lead_to(address, targets)
