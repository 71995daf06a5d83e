"""Composition root of a serving process: its applications, clients and threads.

    applications ──> resources ──> client of the fibservers, with a cache
                         │
                         ├──> client for probes, with its own connection and a short timeout
                         └──> threads "readiness" and "status", which refresh the probe results

A serving process composes its own: clients and threads do not survive a fork.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import falcon

from fibclient import FibClient
from fibcommon.addresses import parse_addresses
from fibcommon.service.resource_limits import affordable_bytes
from fibweb.app import create_app, create_metrics_app
from fibweb.resources.background_refresh import Refresher
from fibweb.resources.health import LivenessResource, ReadinessResource
from fibweb.resources.lazy_documents import page_resources
from fibweb.resources.metrics import MetricsResource
from fibweb.resources.server_limits import ServerLimits
from fibweb.resources.status import ServerProbes, StatusResource
from fibweb.settings import WebSettings
from fibweb.stats.metric_values import MetricValues
from fibweb.stats.request_metrics import RequestMetrics

__all__ = ["Composition", "compose", "memory_parts"]

READY_SECONDS = 2.0
"""Time limit of PING for readiness; load balancers wait about as long."""

ROUTES = ("/fib", "/index", "/limits", "/docs", "/openapi.json", "/favicon.ico", "/robots.txt")
"""Paths without parameters that `create_app` itself adds to the application."""


class Composition(NamedTuple):
    """Applications of a process, with their client and counters.

    Attributes:
        client: Requests numbers from the fibservers.
        counts: Request metrics, in which the server records requests.
        app: The WSGI application.
        metrics_app: A WSGI application with the metrics alone, for a listener of its own.
    """

    client: FibClient
    counts: RequestMetrics
    app: falcon.App[falcon.Request, falcon.Response]
    metrics_app: falcon.App[falcon.Request, falcon.Response]


def compose(
    settings: WebSettings,
    servers: str,
    password: str | None,
    gather: Callable[[], MetricValues],
    stack: ExitStack,
    *,
    max_connections: int,
    has_metrics: bool = True,
) -> Composition:
    """Create the clients, applications and threads of a process.

    Args:
        settings: Settings of the service.
        servers: Addresses of the fibservers, separated by commas.
        password: Password of the fibservers.
        gather: Returns the metrics of all processes.
        stack: Receives the callbacks that close the clients and stop the threads.
        max_connections: Maximum number of connections to the fibservers.
        has_metrics: Whether the application has the route `/metrics`.
    """
    client = FibClient(
        servers,
        max_connections=max_connections,
        timeout_seconds=settings.timeout,
        cache_bytes=affordable_bytes("cache_bytes", settings.cache_bytes, memory_parts(settings)),
        password=password,
    )
    stack.enter_context(client)
    ping = FibClient(
        servers,
        max_connections=1,
        timeout_seconds=READY_SECONDS,
        cache_bytes=0,
        password=password,
    )
    stack.enter_context(ping)
    probes = ServerProbes(parse_addresses(servers), password)
    stack.callback(probes.close)
    limits, ready = ServerLimits(ping), ReadinessResource(ping)
    status = StatusResource(gather, client, probes, settings.public_server)
    metrics = {"/metrics": MetricsResource(gather)}
    resources: dict[str, Any] = {
        "/healthz": LivenessResource(),
        "/readyz": ready,
        "/status": status,
        **(metrics if has_metrics else {}),
        **page_resources(),
    }
    app = create_app(
        client, limits=limits, allowed_origins=settings.allowed_origins, resources=resources
    )
    for name, refreshes in (
        ("readiness", (ready.refresh, limits.refresh)),
        ("status", (status.refresh,)),
    ):
        refresher = Refresher(name, refreshes)
        refresher.start()
        stack.callback(refresher.stop)
    counts = RequestMetrics({*resources, *metrics, *ROUTES}, settings.root_path)
    return Composition(client, counts, app, create_metrics_app(metrics))


def memory_parts(settings: WebSettings) -> int:
    """Return the number of equal parts into which the memory limit is divided.

    Each process uses one part for its cache, one for responses in progress, two for all else.
    """
    return 4 * settings.processes
