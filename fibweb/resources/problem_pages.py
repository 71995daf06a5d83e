"""`/problems/{name}`: a page for people about each type of problems."""

from html import escape

import falcon

from fibweb.resources.compression import StaticDocument
from fibweb.resources.problem_types import PROBLEM_TYPES, ProblemType

__all__ = ["ProblemPageResource"]


class ProblemPageResource:
    """`/problems/{name}`: what a type of problems means, and what to do."""

    def __init__(self) -> None:
        """Build the pages."""
        headers = {"Content-Security-Policy": "default-src 'none'"}
        self._pages = {
            name: StaticDocument(_page(kind).encode(), "text/html; charset=utf-8", headers)
            for name, kind in PROBLEM_TYPES.items()
        }

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Respond with the page, or with 404 for an unknown type."""
        page = self._pages.get(name)
        if page is None:
            raise falcon.HTTPNotFound
        page.respond(request, response)


def _page(kind: ProblemType) -> str:
    title = escape(kind.title)
    paragraphs = "".join(f"<p>{escape(text)}</p>\n" for text in kind.paragraphs)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<h1>{title}</h1>\n{paragraphs}"
    )
