"""`/problems/{name}`: a page for people about each type of problems."""

from html import escape

import falcon

from fibweb.resources.compression import StaticDocument
from fibweb.resources.html_shell import HTML, plain_shell
from fibweb.resources.problem_types import PROBLEM_TYPES, ProblemType

__all__ = ["ProblemPageResource"]

_ROOT = "../"


class ProblemPageResource:
    """`/problems/{name}`: what a type of problems means, and what to do."""

    def __init__(self) -> None:
        """Build the pages."""
        shell = plain_shell()
        self._pages = {
            name: StaticDocument(
                shell.document(kind.title, "", _main(kind), _ROOT), HTML, shell.headers
            )
            for name, kind in PROBLEM_TYPES.items()
        }

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Respond with the page, or with 404 for an unknown type."""
        page = self._pages.get(name)
        if page is None:
            raise falcon.HTTPNotFound
        page.respond(request, response)


def _main(kind: ProblemType) -> str:
    paragraphs = "".join(f"<p>{escape(text)}</p>\n" for text in kind.paragraphs)
    return f"""\
<main class="card notice-page">
<h1>{escape(kind.title)}</h1>
{paragraphs}<p class="actions"><a class="button" href="{_ROOT}docs">Reference</a></p>
</main>"""
