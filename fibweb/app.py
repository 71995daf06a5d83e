"""WSGI application of the REST service: its routes, methods and error handling."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import falcon
from falcon.routing import CompiledRouter

from fibclient import FibClient
from fibweb.http.cors import CorsPolicy
from fibweb.resources.digits import DigitsResource
from fibweb.resources.index import FirstIndexResource, IndexResource
from fibweb.resources.lazy_documents import reference_resources
from fibweb.resources.limits import LimitsResource
from fibweb.resources.numbers import FirstNumbersResource, NumberResource, RangeResource
from fibweb.resources.problems import add_problems
from fibweb.resources.server_limits import ServerLimits
from fibweb.resources.site_files import site_file_resources

__all__ = ["create_app", "create_metrics_app"]


def create_app(
    client: FibClient,
    *,
    limits: ServerLimits | None = None,
    allowed_origins: Collection[str] = (),
    resources: Mapping[str, object] | None = None,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application.

    If the HTTP server puts `fibweb.fetch` into the environ, the application fetches from
    fibservers through it and lets `WouldBlock` propagate (`fibweb.content.fetch_request`). Under
    other servers it blocks.

    Args:
        client: Client for the fibservers; the caller closes it.
        limits: Limits of the fibservers. By default they are read when first needed.
        allowed_origins: Origins whose pages may read responses, such as `https://example.org`,
            or `*`.
        resources: Additional Falcon resources by path.
    """
    limits = limits or ServerLimits(client)
    middleware = [CorsPolicy(allowed_origins)] if allowed_origins else []
    app = falcon.App(middleware=middleware, router=_Router())
    # The converter "path" matches the rest of the URL, so one check finds every invalid n.
    routes: dict[str, object] = {
        "/fib/{n:path}": FirstNumbersResource(client, limits),
        "/fib": RangeResource(client, limits),
        "/number/{n:path}": NumberResource(client, limits),
        "/digits/{n:path}": DigitsResource(client),
        "/index/{x:path}": IndexResource(client),
        "/index": FirstIndexResource(),
        "/limits": LimitsResource(limits),
        **site_file_resources(),
        **(resources or {}),
    }
    routes |= reference_resources(routes)
    add_problems(app, _first_segments(routes))
    for path, resource in routes.items():
        app.add_route(path, resource)
    return app


def create_metrics_app(
    resources: Mapping[str, object],
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application of a listener that serves only metrics.

    Args:
        resources: Falcon resources by path.
    """
    app = falcon.App(router=_Router())
    add_problems(app, _first_segments(resources))
    for path, resource in resources.items():
        app.add_route(path, resource)
    return app


def _first_segments(paths: Iterable[str]) -> set[str]:
    """Return the first segments of paths, but not of folders of files."""
    folders = ("/page/", "/problems/")
    return {path.split("/")[1] for path in paths if not path.startswith(folders)} - {""}


class _Methods(dict[str, Any]):
    """Responders by method. Unknown methods get the responder for 405."""

    def __missing__(self, method: str) -> Any:
        return self["CONNECT"]  # no resource implements it


class _Router(CompiledRouter):
    """Router that adds HEAD (GET without the body) and OPTIONS to all resources.

    It finds no resource for a path that begins with two slashes, so that each response has one
    URL. Falcon ignores further slashes, and some servers remove them from the path.
    """

    def find(self, uri: str, req: falcon.Request | None = None) -> Any:
        """Return the route of a path, or that of `OPTIONS *`; None for no route."""
        if uri == "*" and req is not None and req.method == "OPTIONS":
            return _SERVER_OPTIONS
        environ = req.env if req is not None else {}
        target = environ.get("REQUEST_URI") or environ.get("RAW_URI", uri)
        return None if target[:2] == "//" or uri[:2] == "//" else super().find(uri, req)

    def map_http_methods(self, resource: object, **kwargs: Any) -> Any:
        """Return the responders by method; Falcon adds those that reject other methods."""
        methods: dict[str, Any] = _Methods()
        methods.update(super().map_http_methods(resource, **kwargs))
        if "GET" in methods:
            methods.setdefault("HEAD", methods["GET"])
        methods.setdefault("OPTIONS", _options(methods))
        return methods


def _options(methods: Iterable[str]) -> Callable[..., None]:
    """Return the responder to OPTIONS of a resource that supports methods."""
    allowed = ", ".join(sorted({*methods, "OPTIONS"}))

    def options(request: falcon.Request, response: falcon.Response, **_: object) -> None:
        response.status = falcon.HTTP_204
        response.set_header("Allow", allowed)

    return options


_SERVER_OPTIONS: Any = (object(), {"OPTIONS": _options(("GET", "HEAD"))}, {}, None)
"""Route of `OPTIONS *`, which asks for the methods of the server (RFC 9110, 9.3.7)."""
