"""OpenAPI 3.1 description of the REST API, and the resource `/openapi.json`."""

import json
from collections.abc import Container

import falcon

from fibcommon import __version__
from fibweb.resources.compression import StaticDocument
from fibweb.resources.openapi_parts import COMPONENTS, INTRODUCTION, OPERATIONS, TAGS, Json

__all__ = ["OpenApiResource", "describe"]


class OpenApiResource:
    """`/openapi.json`: the description of the routes in use."""

    def __init__(self, document: Json) -> None:
        """Encode the document.

        Args:
            document: The document, as `describe` returns it.
        """
        data = json.dumps(document, indent=1, ensure_ascii=False).encode()
        self._document = StaticDocument(data, falcon.MEDIA_JSON, {})

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the document, or with 304."""
        # The document may change with each version of fibweb, so caches must revalidate it.
        self._document.respond(request, response)


def describe(routes: Container[str]) -> Json:
    """Return the OpenAPI document.

    Args:
        routes: Path templates of Falcon; those without a description are left out.
    """
    paths = {}
    for route, operation in OPERATIONS.items():
        if route in routes:
            paths[route.replace(":path", "")] = {"get": operation, "head": _head(operation)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fibonacci numbers",
            "version": __version__,
            "description": INTRODUCTION,
        },
        # Relative to this document, so that it is valid below any path prefix.
        "servers": [{"url": "."}],
        "tags": [
            {"name": name, "description": description}
            for name, description in TAGS.items()
            if any(name in methods["get"]["tags"] for methods in paths.values())
        ],
        "externalDocs": {"url": "docs", "description": "The same for people."},
        "paths": paths,
        "components": COMPONENTS,
    }


def _head(get: Json) -> Json:
    """Return the operation HEAD: that of GET, without bodies."""
    bodiless = {
        status: {part: value for part, value in response.items() if part != "content"}
        for status, response in get["responses"].items()
    }
    # Range applies only to GET.
    for status in ("206", "416"):
        bodiless.pop(status, None)
    return {**get, "operationId": f"{get['operationId']}Head", "responses": bodiless}
