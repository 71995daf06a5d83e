"""Status of fibweb and its fibservers: the resource `/status`, JSON for the page.

Each open page polls it every two seconds. While any page does, fibweb probes the fibservers about
once a second and sends all pages the same result.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import falcon

from fibclient import DeadlineExceeded, FibClient, FibError, ResolverCache, resolve
from fibcommon.addresses import Address, ResolvedAddress
from fibcommon.quantiles import quantile
from fibweb.content.fetch_request import FETCH, run_now
from fibweb.resources.background_refresh import Expiry
from fibweb.resources.compression import set_compressed
from fibweb.resources.problems import check_without_tag
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import bucket_bounds, buckets_of

__all__ = ["ServerProbes", "StatusResource"]

KEEP_POLLING_SECONDS = 10.0
"""The status is refreshed for this long after a request for it."""

POLL_SECONDS = 0.5
"""Timeout of a probe. A healthy fibserver replies to INFO within a millisecond."""

WINDOW_SECONDS = 10.0
"""Latencies cover the requests of about this time."""

_FIELDS = {
    "workers": "workers",
    "workers_busy": "workers_busy",
    "resident_bytes": "resident_bytes",
    "memory_limit_bytes": "maxmemory",
    "clients": "connected_clients",
    "requests_total": "total_commands_processed",
}
"""Fields of INFO by their names in the status."""


class ServerProbes:
    """Probes of all fibservers, with one connection each. For one thread at a time."""

    def __init__(self, addresses: Sequence[Address], password: str | None) -> None:
        """Create the probes without connecting.

        Args:
            addresses: Addresses of the fibservers.
            password: Password of the fibservers, or None.
        """
        self._addresses = addresses
        self._password = password
        self._resolved: dict[Address, list[ResolvedAddress]] = {}
        self._resolver = ResolverCache(
            threading.Condition(), addresses, resolve, self._resolved.__setitem__
        )
        self._clients: dict[ResolvedAddress, FibClient] = {}

    def poll(self) -> dict[str, dict[str, str] | str]:
        """Request INFO from each fibserver.

        Returns:
            The fields of INFO, or an error message, by address.
        """
        replies: dict[str, dict[str, str] | str] = {}
        resolved: set[ResolvedAddress] = set()
        timeout_error = ""
        try:
            self._resolver.refresh(time.monotonic() + POLL_SECONDS, lambda: False)
        except DeadlineExceeded as error:
            timeout_error = str(error)
        for address in self._addresses:
            found = self._resolved.get(address, [])
            if not found:
                replies[str(address)] = self._resolver.errors.get(address, timeout_error)
            resolved.update(found)
            for server in found:
                replies[str(server)] = self._poll_one(server)
        for server in self._clients.keys() - resolved:
            self._clients.pop(server).close()
        return replies

    def _poll_one(self, server: ResolvedAddress) -> dict[str, str] | str:
        client = self._clients.get(server)
        if client is None:
            client = self._clients[server] = FibClient(
                str(server.address),
                max_connections=1,
                timeout_seconds=POLL_SECONDS,
                max_retries=0,
                cache_bytes=0,
                password=self._password,
                resolve=lambda _: [server],
            )
        try:
            return client.info("all")
        except FibError as error:
            return str(error)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


class StatusResource:
    """`/status`: the state of fibweb and of each fibserver."""

    def __init__(
        self,
        gather: Callable[[], MetricValues],
        client: FibClient,
        probes: ServerProbes,
        public_server: str | None = None,
    ) -> None:
        """Create the resource.

        Args:
            gather: Returns the metric values of all processes.
            client: Client that serves requests; its statistics have the state of each server.
            probes: Probes of the fibservers.
            public_server: Address at which visitors reach a fibserver, None if they reach none.
        """
        self._public_server = public_server
        self._gather = gather
        self._client = client
        self._probes = probes
        self._lock = threading.Lock()
        self._data = b""
        self._requested_at = float("-inf")
        self._expiry = Expiry("status", self._update)
        self._window: deque[tuple[float, list[float]]] = deque()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the status, usually about a second old."""
        self._requested_at = time.monotonic()
        self._expiry.ensure_fresh(request.env.get(FETCH, run_now))
        check_without_tag(request.env)
        response.content_type = falcon.MEDIA_JSON
        response.cache_control = ["no-store"]
        set_compressed(request, response, self._data)

    def refresh(self) -> None:
        """Update the status if it was requested lately."""
        if time.monotonic() - self._requested_at < KEEP_POLLING_SECONDS:
            self._expiry.refresh()

    def _update(self) -> None:
        with self._lock:  # the refresher and a request may call this at the same time
            replies = self._probes.poll()
            self._data = json.dumps(self._status(self._gather(), replies)).encode()

    def _status(
        self, values: MetricValues, replies: dict[str, dict[str, str] | str]
    ) -> dict[str, Any]:
        counters, gauges = values
        buckets = list(self._recent(counters))
        return {
            "servers": self._servers(values, replies),
            "public_server": self._public_server,
            "requests_total": sum(
                value for key, value in counters.items() if key[0] == "requests"
            ),
            "in_flight": gauges["in_flight",],
            # Unknown under another HTTP server.
            "connections": gauges.get(("connections",)),
            "processes": gauges["processes",],
            "latency_seconds": {
                "p50": quantile(bucket_bounds(buckets), 0.5) if any(buckets) else None,
                "p99": quantile(bucket_bounds(buckets), 0.99) if any(buckets) else None,
            },
            "memory_bytes": gauges["memory_bytes",],
            "cache": {
                "hits": counters["cache_hits",],
                "extensions": counters["cache_extensions",],
                "misses": counters["cache_misses",],
                "size_bytes": gauges["cache_bytes",],
            },
        }

    def _recent(self, counters: Samples) -> list[float]:
        """Return the latency buckets of recent requests: cached, inline and threaded ones."""
        now = time.monotonic()
        handlings = [labels[0] for name, *labels in counters if name == "seconds"]
        by_handling = [buckets_of(counters, handling) for handling in handlings]
        totals = [sum(counts) for counts in zip(*by_handling, strict=True)]
        while len(self._window) > 1 and now - self._window[1][0] >= WINDOW_SECONDS:
            self._window.popleft()
        before = self._window[0][1] if self._window else []
        self._window.append((now, totals))
        before = before or [0.0] * len(totals)
        return [after - earlier for after, earlier in zip(totals, before, strict=True)]

    def _servers(
        self, values: MetricValues, replies: dict[str, dict[str, str] | str]
    ) -> list[dict[str, Any]]:
        known = {endpoint.address: endpoint for endpoint in self._client.stats().endpoints}
        servers = []
        for position, (address, reply) in enumerate(replies.items(), 1):
            endpoint = known.get(address)
            is_up = endpoint is None or endpoint.state == "up"
            replied = not isinstance(reply, str)
            # No addresses, nor errors, which have them: the page is public. Logs and metrics do.
            server: dict[str, Any] = {
                "name": f"fibserver {position}",
                "state": "up" if is_up and replied else "down",
                "in_flight": values.gauges.get(("server_in_flight", address), 0),
            }
            for outcome in ("succeeded", "failed"):
                key = ("server_requests", address, outcome)
                server[outcome] = values.counters.get(key, 0)
            if not isinstance(reply, str):
                for name, field in _FIELDS.items():
                    if reply.get(field, "").isdecimal():
                        server[name] = int(reply[field])
            servers.append(server)
        return servers
