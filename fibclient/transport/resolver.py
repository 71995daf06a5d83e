"""Resolution of addresses to socket addresses with the system's resolver."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.errors import DeadlineExceeded, ServerUnreachable
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["ResolverCache", "resolve", "resolve_in_time"]

RESOLVE_SECONDS = 1.0
"""Names are resolved whenever a connection is opened, but not more often than this."""

GRACE_SECONDS = 0.1
"""Longest wait for new results where old ones would do; resolvers usually need less."""

SERVICE_SECONDS = 2.0
"""Timeout for resolving the hosts of SRV records; slower ones are left out."""


def resolve(address: Address) -> list[ResolvedAddress]:
    """Return all socket addresses of an address, preferred ones first.

    Raises:
        ServerUnreachable: The name cannot be resolved, or needs dnspython, which is missing.
    """
    if address.path:
        return [ResolvedAddress(socket.AF_UNIX, address.path, address)]
    if address.service:
        return _targets_of_service(address)
    # Bytes spare the import of Python's codec for international names, 2 ms.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerUnreachable(f"cannot resolve {address}: {error.strerror}") from error
    except UnicodeError as error:
        raise ServerUnreachable(f"cannot resolve {address}: not a valid host name") from error
    # A hosts file may list a name twice.
    names = dict.fromkeys((entry[0], entry[4]) for entry in found)
    return [
        ResolvedAddress(family, cast("tuple[str, int]", name), address) for family, name in names
    ]


def _targets_of_service(address: Address) -> list[ResolvedAddress]:
    """Return the addresses of a service's servers, except those with unknown names."""
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
    """Return the servers with the highest priority in the SRV records of a name.

    Weights are ignored: each request goes to the endpoint with the fewest in flight.
    """
    try:
        # The library's only third-party dependency, which is optional.
        import dns.exception
        import dns.name
        import dns.resolver
    except ImportError as error:
        raise ServerUnreachable(
            f"{address} needs dnspython: run \"pip install 'fibservice[srv]'\""
        ) from error
    try:
        records = list(dns.resolver.resolve(address.service, "SRV"))
    except dns.exception.DNSException as error:
        raise ServerUnreachable(f"cannot resolve {address}: {error}") from error
    if all(record.target == dns.name.root for record in records):
        # RFC 2782: a target of "." means that the service is not available.
        raise ServerUnreachable(f"cannot resolve {address}: SRV records declare it unavailable")
    first = min(record.priority for record in records)
    return [
        Address(record.target.to_text(omit_final_dot=True), record.port)
        for record in records
        if record.priority == first
    ]


class ResolverCache:
    """Thread-safe cache of what addresses resolve to.

    Each host name is resolved in a thread of its own, since the system's resolver cannot be
    interrupted: a slow name delays no other, and no call beyond its deadline.

    Attributes:
        errors: Error messages of the latest resolutions that failed, by address.
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
            condition: Notified when a resolution ends; its lock protects this object.
            addresses: Addresses to resolve.
            resolve: Resolves an address, or raises `ServerUnreachable`.
            on_resolved: Called with each result, by any thread, without the lock.
        """
        self._condition = condition
        self._addresses = addresses
        self._resolve = resolve
        self._on_resolved = on_resolved
        self._started_at: dict[Address, float] = {}  # of the resolutions in progress
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
            deadline: Monotonic deadline of the wait.
            is_enough: Returns whether the caller can continue without further results. If so, the
                wait still lasts until `GRACE_SECONDS` after the latest resolution began.
            cancellation: Ends the wait when it is cancelled.

        Raises:
            DeadlineExceeded: Too little was resolved before the deadline.
            CallCancelled: `cancellation` was cancelled.
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
                    raise DeadlineExceeded(f"timed out resolving {names}")
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
            except RuntimeError:  # no thread can be started, for example at exit
                self._resolve_one(address)

    def _resolve_one(self, address: Address) -> None:
        try:
            targets = self._resolve(address)
        except ServerUnreachable as error:
            # Keep the previous result, which may still be valid.
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
    """Return whether resolving an address may involve the network."""
    if address.path:
        return False
    host = address.host.partition("%")[0]  # without the zone of a link-local address
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return False
    return True


def resolve_in_time(address: Address, seconds: float) -> list[ResolvedAddress]:
    """Return what `resolve` returns, within a timeout.

    Raises:
        ServerUnreachable: The address cannot be resolved.
        DeadlineExceeded: Resolving it took longer than `seconds`.
    """
    found: dict[Address, list[ResolvedAddress]] = {}
    cache = ResolverCache(threading.Condition(), [address], resolve, found.__setitem__)
    cache.refresh(time.monotonic() + seconds, lambda: False)
    if address in cache.errors:
        raise ServerUnreachable(cache.errors[address])
    return found[address]
