"""The REST application: which resource answers at which path, and how in general."""

from collections.abc import Collection, Mapping
from typing import Any

import falcon
from falcon.routing import CompiledRouter

from fibclient import FibClient
from fibweb.http.cors import CrossOriginReading
from fibweb.resources.numbers import FirstNumbersResource, NumberResource, RangeResource
from fibweb.resources.openapi import OpenApiResource
from fibweb.resources.problems import add_problems
from fibweb.resources.server_limits import ServerLimits

__all__ = ["create_app", "create_metrics_app"]


def create_app(
    client: FibClient,
    *,
    limits: ServerLimits | None = None,
    allowed_origins: Collection[str] = (),
    resources: Mapping[str, object] | None = None,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application.

    Where a server puts `fibweb.fetch` into the environ, the application calls that for what only a
    fibserver has, and lets `WouldBlock` pass (`fibweb.content.fetch`); elsewhere it blocks.

    Args:
        client: asks the servers; it stays the caller's to close.
        limits: of the servers; by default they are read when they are first needed.
        allowed_origins: whose pages may read the answers, such as `https://example.org`, or `*`.
        resources: Falcon resources to have beside the application's own, by path.
    """
    limits = limits or ServerLimits(client)
    middleware = [CrossOriginReading(allowed_origins)] if allowed_origins else []
    app = falcon.App(middleware=middleware, router=_Router())
    add_problems(app)
    # A "path" takes the rest of the URL, so whatever is wrong with n meets one check.
    routes = {
        "/fib/{n:path}": FirstNumbersResource(client, limits),
        "/fib": RangeResource(client, limits),
        "/number/{n:path}": NumberResource(client, limits),
        **(resources or {}),
    }
    routes["/openapi.json"] = OpenApiResource({*routes, "/openapi.json"})
    for path, resource in routes.items():
        app.add_route(path, resource)
    return app


def create_metrics_app(
    resources: Mapping[str, object],
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application of a listener for metrics alone.

    Args:
        resources: Falcon resources by path.
    """
    app = falcon.App(router=_Router())
    add_problems(app)
    for path, resource in resources.items():
        app.add_route(path, resource)
    return app


class _Methods(dict[str, Any]):
    """The responder for each method; one that nobody has heard of is not allowed either."""

    def __missing__(self, method: str) -> Any:
        return self["CONNECT"]  # which no resource has


class _Router(CompiledRouter):
    """Gives all resources HEAD, as GET without its body, and OPTIONS."""

    def map_http_methods(self, resource: object, **kwargs: Any) -> Any:
        """Return what answers each method; Falcon adds what refuses the others."""
        methods: dict[str, Any] = _Methods()
        methods.update(super().map_http_methods(resource, **kwargs))
        if "GET" in methods:
            methods.setdefault("HEAD", methods["GET"])
        allowed = ", ".join(sorted({*methods, "OPTIONS"}))

        def options(request: falcon.Request, response: falcon.Response, **_: object) -> None:
            response.status = falcon.HTTP_204
            response.set_header("Allow", allowed)

        methods.setdefault("OPTIONS", options)
        return methods
