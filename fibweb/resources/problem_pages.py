"""`/problems/{name}`: a page for people about each type of problems."""

from html import escape

import falcon

from fibweb.resources.problem_types import PROBLEM_TYPES, ProblemType

__all__ = ["ProblemPageResource"]


class ProblemPageResource:
    """`/problems/{name}`: what a type of problems means, and what to do."""

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Respond with the page, or with 404 for an unknown type."""
        kind = PROBLEM_TYPES.get(name)
        if kind is None:
            raise falcon.HTTPNotFound
        response.content_type = "text/html; charset=utf-8"
        response.set_header("Cache-Control", "no-cache")
        response.set_header("Content-Security-Policy", "default-src 'none'")
        response.data = _page(kind).encode()


def _page(kind: ProblemType) -> str:
    title = escape(kind.title)
    paragraphs = "".join(f"<p>{escape(text)}</p>\n" for text in kind.paragraphs)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<h1>{title}</h1>\n{paragraphs}"
    )
