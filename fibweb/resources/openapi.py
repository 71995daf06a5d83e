"""The description of the API for programs: an OpenAPI 3.1 document, and its resource."""

import hashlib
import json
from collections.abc import Container
from importlib.metadata import version

import falcon

from fibweb.http import entity_tags as conditions
from fibweb.resources.openapi_parts import COMPONENTS, INTRODUCTION, OPERATIONS, Json

__all__ = ["OpenApiResource", "describe"]


class OpenApiResource:
    """`/openapi.json`: the description of the routes that there are."""

    def __init__(self, routes: Container[str]) -> None:
        """Describe routes.

        Args:
            routes: their paths as Falcon has them; those not known here are left out.
        """
        self._data = json.dumps(describe(routes), indent=1, ensure_ascii=False).encode()
        self._tag = f'"{hashlib.sha256(self._data).hexdigest()[:32]}"'

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the document."""
        response.set_header("ETag", self._tag)
        # It changes with the program, so caches are to ask whether it has.
        response.set_header("Cache-Control", "no-cache")
        if conditions.is_known(request.env.get("HTTP_IF_NONE_MATCH", ""), self._tag):
            response.status = falcon.HTTP_304
            return
        response.content_type = falcon.MEDIA_JSON
        response.data = self._data


def describe(routes: Container[str]) -> Json:
    """Return the document for routes, as far as they are known here."""
    paths = {}
    for route, operation in OPERATIONS.items():
        if route in routes:
            paths[route.replace(":path", "")] = {"get": operation, "head": _head(operation)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fibonacci numbers",
            "version": version("fibservice"),
            "description": INTRODUCTION,
        },
        # Relative to this document, so that it is right below any path prefix.
        "servers": [{"url": "."}],
        "paths": paths,
        "components": COMPONENTS,
    }


def _head(get: Json) -> Json:
    """Return what HEAD does: the same as GET, with nothing in the body."""
    bodiless = {
        status: {part: value for part, value in response.items() if part != "content"}
        for status, response in get["responses"].items()
    }
    # A part is answered to GET only.
    for status in ("206", "416"):
        bodiless.pop(status, None)
    return {**get, "operationId": f"{get['operationId']}Head", "responses": bodiless}
