"""Resources of the documents, each of which its first request creates.

Page, reference and description take 50 ms to build, with modules that nothing else needs: too much
for each start of each process. A request of the first kind waits for it once.
"""

from collections.abc import Callable, Container
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol

import falcon

if TYPE_CHECKING:
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


def reference_resources(routes: Container[str]) -> dict[str, object]:
    """Return the Falcon resources that document the API, by path.

    Args:
        routes: Path templates of Falcon that the application has, those of the result among them.
    """

    def docs() -> _Resource:
        from fibweb.resources.docs import DocsResource
        from fibweb.resources.openapi import describe

        return DocsResource(describe(routes))

    def openapi() -> _Resource:
        from fibweb.resources.openapi import OpenApiResource, describe

        return OpenApiResource(describe(routes))

    def problem_pages() -> _Resource:
        from fibweb.resources.problem_pages import ProblemPageResource

        return ProblemPageResource()

    return {
        "/docs": _LazyResource(docs),
        "/openapi.json": _LazyResource(openapi),
        "/problems/{name}": _LazyResource(problem_pages),
    }


class _Resource(Protocol):
    @property
    def on_get(self) -> Callable[..., None]: ...


class _LazyResource:
    """Stands for a resource in the routes."""

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
