"""Composition root of a process that serves: its applications, and what they are made of.

    applications ──> resources ──> client of the fibservers, with a cache
                         │
                         ├──> client for probes, with a connection and a short timeout of its own
                         └──> threads "readiness" and "status", which refresh what probes report

Compose in the process that serves: clients and threads do not survive a fork.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import falcon

from fibclient import FibClient
from fibcommon.addresses import parse_addresses
from fibcommon.service.machine import affordable_bytes
from fibweb.app import create_app, create_metrics_app
from fibweb.resources.health import LivenessResource, ReadinessResource
from fibweb.resources.metrics import MetricsResource
from fibweb.resources.page import page_resources
from fibweb.resources.remembered import Refresher
from fibweb.resources.server_limits import ServerLimits
from fibweb.resources.status import ServerProbes, StatusResource
from fibweb.settings import Settings
from fibweb.stats.metric_values import MetricValues
from fibweb.stats.request_metrics import RequestMetrics

__all__ = ["Composition", "compose", "memory_parts"]

READY_SECONDS = 2.0
"""A fibserver that needs longer for PING is of no use now; load balancers wait about as long."""

ROUTES = ("/fib", "/openapi.json")
"""The paths of the application that have no parameter."""


@dataclass(frozen=True)
class Composition:
    """What a process serves.

    Attributes:
        client: requests numbers from the fibservers.
        counts: of requests, for whoever serves to record them.
        app: the WSGI application.
        metrics_app: the one for a listener that has the metrics alone.
    """

    client: FibClient
    counts: RequestMetrics
    app: falcon.App[falcon.Request, falcon.Response]
    metrics_app: falcon.App[falcon.Request, falcon.Response]


def compose(
    settings: Settings,
    servers: str,
    password: str | None,
    gather: Callable[[], MetricValues],
    stack: ExitStack,
    *,
    max_connections: int,
    has_metrics: bool = True,
) -> Composition:
    """Create the clients, the applications and the threads of a process.

    Args:
        settings: of the service.
        servers: the addresses of the fibservers.
        password: of the fibservers.
        gather: returns the figures of all processes.
        stack: closes all of it.
        max_connections: to the fibservers, at most.
        has_metrics: whether `/metrics` is a route of the application.
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
    status = StatusResource(gather, client, probes)
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


def memory_parts(settings: Settings) -> int:
    """Return into how many parts the processes divide the memory that they may use.

    A quarter is for their caches, a quarter for responses in progress, half for all else.
    """
    return 4 * settings.processes
