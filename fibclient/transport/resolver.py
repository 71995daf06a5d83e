"""Resolution of addresses to socket addresses, by the system's resolver."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.errors import DeadlineExceeded, ServerUnreachable
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["ResolverCache", "resolve", "resolve_in_time"]

RESOLVE_SECONDS = 1.0
"""Names are resolved before a connection is opened, but not for each of many in a moment."""

GRACE_SECONDS = 0.1
"""How long new results are waited for where old ones would do: a resolver needs less as a rule."""

SERVICE_SECONDS = 2.0
"""How long the hosts of SRV records may take to be resolved; slower ones are left out."""


def resolve(address: Address) -> list[ResolvedAddress]:
    """Return all the places that an address leads to, the preferred ones first.

    Raises:
        ServerUnreachable: the name is not known, or needs a library that is not there.
    """
    if address.path:
        return [ResolvedAddress(socket.AF_UNIX, address.path, address)]
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
    return [
        ResolvedAddress(family, cast("tuple[str, int]", name), address) for family, name in names
    ]


def _targets_of_service(address: Address) -> list[ResolvedAddress]:
    """Return where the servers of a service are; one with an unknown name hides no others."""
    servers = _servers_of_service(address)
    found: dict[Address, list[ResolvedAddress]] = {}
    cache = ResolverCache(threading.Condition(), servers, resolve, found.__setitem__)
    failure = ""
    try:
        cache.refresh(time.monotonic() + SERVICE_SECONDS, lambda: False)
    except DeadlineExceeded as error:
        failure = str(error)
    targets = {
        (target.family, target.name): target._replace(address=address)
        for server in servers
        for target in found.get(server, ())
    }
    if not targets:
        failure = failure or "; ".join(cache.errors.values())
        raise ServerUnreachable(f"cannot resolve {address}: {failure}")
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


class ResolverCache:
    """What some addresses resolve to, refreshed again and again; for any thread.

    Each host name is resolved in a thread of its own, since the system's resolver cannot be
    interrupted: a slow or silent name delays no other, and no call beyond its deadline.

    Attributes:
        errors: why addresses could not be resolved the last time, by address.
    """

    def __init__(
        self,
        condition: threading.Condition,
        addresses: Sequence[Address],
        resolve: Callable[[Address], list[ResolvedAddress]],
        on_resolved: Callable[[Address, list[ResolvedAddress]], None],
    ) -> None:
        """Create a cache; nothing is resolved yet.

        Args:
            condition: notified when an address was resolved; its lock protects this object.
            addresses: to be resolved.
            resolve: returns what one resolves to now, or raises `ServerUnreachable`.
            on_resolved: called with each result, by any thread, without the lock.
        """
        self._condition = condition
        self._addresses = addresses
        self._resolve = resolve
        self._on_resolved = on_resolved
        self._started_at: dict[Address, float] = {}  # of the look-ups under way
        self._ended_at: dict[Address, float] = {}
        self.errors: dict[Address, str] = {}

    @property
    def is_pending(self) -> bool:
        """Whether an address is being resolved."""
        return bool(self._started_at)

    def refresh(
        self,
        deadline: float,
        is_enough: Callable[[], bool],
        cancellation: Cancellation | None = None,
    ) -> None:
        """Resolve all addresses that were not resolved in the last second; wait for the results.

        Args:
            deadline: of the wait, monotonic.
            is_enough: returns whether the caller can go on without the rest. Look-ups that began
                just now are waited for nevertheless, for `GRACE_SECONDS`.
            cancellation: ends the wait.

        Raises:
            DeadlineExceeded: it is not enough by the deadline.
            CallCancelled: the cancellation was.
        """
        self._start_due()
        with notified(cancellation, self._notify), self._condition:
            while self._started_at:
                raise_if_cancelled(cancellation)
                now = time.monotonic()
                end = deadline
                if is_enough():
                    end = min(deadline, max(self._started_at.values()) + GRACE_SECONDS)
                    if now >= end:
                        return
                elif now >= deadline:
                    names = ", ".join(map(str, self._started_at))
                    raise DeadlineExceeded(f"cannot resolve {names}: no answer in time")
                self._condition.wait(end - now)

    def _start_due(self) -> None:
        for address in self._addresses:
            now = time.monotonic()
            with self._condition:
                is_fresh = now - self._ended_at.get(address, float("-inf")) < RESOLVE_SECONDS
                if is_fresh or address in self._started_at:
                    continue
                self._started_at[address] = now
            if not _is_name(address):
                self._resolve_one(address)
                continue
            thread = threading.Thread(
                target=self._resolve_one, args=(address,), name="fibclient-resolver", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # there is no thread to be had, at the interpreter's end say
                self._resolve_one(address)

    def _resolve_one(self, address: Address) -> None:
        try:
            targets = self._resolve(address)
        except ServerUnreachable as error:
            # What it resolved to before may still be there.
            self.errors[address] = str(error)
        else:
            self.errors.pop(address, None)
            self._on_resolved(address, targets)
        finally:
            with self._condition:
                del self._started_at[address]
                self._ended_at[address] = time.monotonic()
                self._condition.notify_all()

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()


def _is_name(address: Address) -> bool:
    """Return whether a resolver may have to ask others about an address."""
    if address.path:
        return False
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return True
    return False


def resolve_in_time(address: Address, seconds: float) -> list[ResolvedAddress]:
    """Return what `resolve` returns, if it does so in time.

    Raises:
        ServerUnreachable: the address cannot be resolved, or not within `seconds`.
    """
    found: dict[Address, list[ResolvedAddress]] = {}
    cache = ResolverCache(threading.Condition(), [address], resolve, found.__setitem__)
    cache.refresh(time.monotonic() + seconds, lambda: False)
    if address in cache.errors:
        raise ServerUnreachable(cache.errors[address])
    return found[address]
