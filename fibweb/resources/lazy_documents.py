"""Falcon resources of documents, created by their first request.

The page, the API reference and the OpenAPI description take 45 ms to build and import modules that
nothing else needs, which would delay each start of a process. Only the first request for each
waits.
"""

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol

import falcon

if TYPE_CHECKING:
    from fibweb.resources.openapi_parts import Json
    from fibweb.resources.page import Site

__all__ = ["page_resources", "reference_resources"]


def page_resources() -> dict[str, object]:
    """Return the Falcon resources of the page by path."""

    @cache
    def site() -> "Site":
        from fibweb.resources.page import Site

        return Site()

    return {
        "/": _LazyResource(lambda: site().index),
        "/page/{name}": _LazyResource(lambda: site().assets),
    }


def reference_resources(routes: Iterable[str]) -> dict[str, object]:
    """Return the Falcon resources that document the API, by path.

    Args:
        routes: Path templates of the other routes of the application.
    """

    @cache
    def document() -> "Json":
        from fibweb.resources.openapi import describe

        return describe(described)

    def docs() -> _Resource:
        from fibweb.resources.docs import DocsResource

        return DocsResource(document())

    def openapi() -> _Resource:
        from fibweb.resources.openapi import OpenApiResource

        return OpenApiResource(document())

    def problem_pages() -> _Resource:
        from fibweb.resources.problem_pages import ProblemPageResource

        return ProblemPageResource()

    resources: dict[str, object] = {
        "/docs": _LazyResource(docs),
        "/openapi.json": _LazyResource(openapi),
        "/problems/{name}": _LazyResource(problem_pages),
    }
    described = frozenset({*routes, *resources})
    return resources


class _Resource(Protocol):
    @property
    def on_get(self) -> Callable[..., None]: ...


class _LazyResource:
    """Creates the actual resource at the first request, and delegates to it."""

    def __init__(self, create: Callable[[], _Resource]) -> None:
        """Store the function; nothing is created yet.

        Args:
            create: Returns the resource. If two threads call it at the same time, either result
                is used.
        """
        self._create = create

    def on_get(self, request: falcon.Request, response: falcon.Response, **path: Any) -> None:
        """Respond as the resource does."""
        self._resource.on_get(request, response, **path)

    @cached_property
    def _resource(self) -> _Resource:
        return self._create()
