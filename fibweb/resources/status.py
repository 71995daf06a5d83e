"""`/status`: how the service is doing, as JSON for the page.

Many pages may be open, each asking every second or so. While some are, the fibservers are asked
once a second, and all get what was found out.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import falcon

from fibclient import DeadlineExceeded, FibClient, FibError
from fibclient.transport.resolver import ResolverCache, resolve
from fibcommon.addresses import Address, ResolvedAddress
from fibweb.content.fetch import run_now
from fibweb.resources.metrics import buckets_of
from fibweb.resources.remembered import FETCH, Remembered
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import quantile

__all__ = ["ServerProbes", "StatusResource"]

WANTED_SECONDS = 10.0
"""After a request for it the state is kept fresh for so long."""

ASK_SECONDS = 0.5
"""For each fibserver: it says INFO in less than a millisecond, unless it is not well."""

WINDOW_SECONDS = 10.0
"""Latencies are those of the requests that were answered in about this time."""

_FIELDS = {
    "workers": "workers",
    "workers_busy": "workers_busy",
    "resident_bytes": "resident_bytes",
    "memory_limit_bytes": "maxmemory",
    "clients": "connected_clients",
    "requests_total": "total_commands_processed",
}
"""What a fibserver calls these in its INFO."""


class ServerProbes:
    """Asks each of the fibservers how it is, over a connection of its own; for one thread."""

    def __init__(self, addresses: Sequence[Address], password: str | None) -> None:
        """Describe the probes.

        Args:
            addresses: of the servers.
            password: of the servers.
        """
        self._addresses = addresses
        self._password = password
        self._targets: dict[Address, list[ResolvedAddress]] = {}
        self._resolver = ResolverCache(
            threading.Condition(), addresses, resolve, self._targets.__setitem__
        )
        self._clients: dict[ResolvedAddress, FibClient] = {}

    def ask(self) -> dict[str, dict[str, str] | str]:
        """Return what each server tells of itself, or why it does not, by its address."""
        answers: dict[str, dict[str, str] | str] = {}
        targets: set[ResolvedAddress] = set()
        late = ""
        try:
            self._resolver.refresh(time.monotonic() + ASK_SECONDS, lambda: False)
        except DeadlineExceeded as error:
            late = str(error)
        for address in self._addresses:
            found = self._targets.get(address, [])
            if not found:
                answers[str(address)] = self._resolver.errors.get(address, late)
            targets.update(found)
            for target in found:
                answers[str(target)] = self._ask_one(target)
        for target in self._clients.keys() - targets:
            self._clients.pop(target).close()
        return answers

    def _ask_one(self, target: ResolvedAddress) -> dict[str, str] | str:
        client = self._clients.get(target)
        if client is None:
            client = self._clients[target] = FibClient(
                str(target.address),
                max_connections=1,
                timeout_seconds=ASK_SECONDS,
                max_retries=0,
                cache_bytes=0,
                password=self._password,
                resolve=lambda _: [target],
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
    """`/status`."""

    def __init__(
        self, gather: Callable[[], MetricValues], client: FibClient, probes: ServerProbes
    ) -> None:
        """Describe the resource.

        Args:
            gather: returns the figures of all processes.
            client: the one that serves; it knows what went wrong with each server.
            probes: ask the servers.
        """
        self._gather = gather
        self._client = client
        self._probes = probes
        self._lock = threading.Lock()
        self._data = b""
        self._wanted_at = float("-inf")
        self._remembered = Remembered("status", self._find_out)
        self._window: deque[tuple[float, list[float]]] = deque()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer how things are, as of the last second or so."""
        self._wanted_at = time.monotonic()
        self._remembered.ensure(request.env.get(FETCH, run_now))
        response.content_type = falcon.MEDIA_JSON
        response.cache_control = ["no-store"]
        response.data = self._data

    def refresh(self) -> None:
        """Ask the fibservers, if somebody has wanted to know lately."""
        if time.monotonic() - self._wanted_at < WANTED_SECONDS:
            self._remembered.refresh()

    def _find_out(self) -> None:
        with self._lock:  # the refresher may be at it while a request needs it
            answers = self._probes.ask()
            self._data = json.dumps(self._status(self._gather(), answers)).encode()

    def _status(
        self, figures: MetricValues, answers: dict[str, dict[str, str] | str]
    ) -> dict[str, Any]:
        counters, gauges = figures
        buckets = self._recent(counters)
        return {
            "servers": self._servers(figures, answers),
            "requests_total": sum(
                value for key, value in counters.items() if key[0] == "requests"
            ),
            "in_flight": gauges["in_flight",],
            # Under another HTTP server only that knows.
            "connections": gauges.get(("connections",)),
            "processes": gauges["processes",],
            "latency_seconds": {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99)},
            "memory_bytes": gauges["memory_bytes",],
            "cache": {
                "hits": counters["cache_hits",],
                "extensions": counters["cache_extensions",],
                "misses": counters["cache_misses",],
                "size_bytes": gauges["cache_bytes",],
            },
        }

    def _recent(self, counters: Samples) -> list[float]:
        """Return the latency buckets of what was answered lately, of all lanes together."""
        now = time.monotonic()
        lanes = [labels[0] for name, *labels in counters if name == "seconds"]
        by_handling = [buckets_of(counters, handling) for handling in lanes]
        totals = [sum(each) for each in zip(*by_handling, strict=True)]
        while len(self._window) > 1 and now - self._window[1][0] >= WINDOW_SECONDS:
            self._window.popleft()
        before = self._window[0][1] if self._window else []
        self._window.append((now, totals))
        before = before or [0.0] * len(totals)
        return [after - earlier for after, earlier in zip(totals, before, strict=True)]

    def _servers(
        self, figures: MetricValues, answers: dict[str, dict[str, str] | str]
    ) -> list[dict[str, Any]]:
        known = {each.address: each for each in self._client.stats().endpoints}
        servers = []
        for address, answer in answers.items():
            endpoint = known.get(address)
            is_asked = endpoint is None or endpoint.state == "up"
            error = answer if isinstance(answer, str) else ""
            server: dict[str, Any] = {
                "address": address,
                "state": "up" if is_asked and not error else "set aside",
                "in_flight": figures.gauges.get(("server_in_flight", address), 0),
                "last_error": error or (endpoint.last_error if endpoint else ""),
            }
            for outcome in ("succeeded", "failed"):
                key = ("server_requests", address, outcome)
                server[outcome] = figures.counters.get(key, 0)
            if not isinstance(answer, str):
                for name, theirs in _FIELDS.items():
                    if answer.get(theirs, "").isdecimal():
                        server[name] = int(answer[theirs])
            servers.append(server)
        return servers
