"""`/docs`: the reference for people, from the same document as `/openapi.json`.

It is rendered once, and complete without scripts; a script only adds the forms to try requests.
"""

from collections.abc import Mapping
from typing import Any

import falcon

from fibweb.resources.compression import StaticDocument
from fibweb.resources.docs_html import render_contents, render_introduction, render_operations
from fibweb.resources.html_shell import HTML, HtmlShell

__all__ = ["DocsResource"]

_HEADER = """\
<nav class="links" aria-label="Site"><a href="./">Numbers</a>
<a href="openapi.json">OpenAPI</a></nav>
<fieldset class="segments theme">
<legend class="unseen">Colours</legend>
<label><input type="radio" name="theme" value="auto" checked><span>Auto</span></label>
<label><input type="radio" name="theme" value="light"><span>Light</span></label>
<label><input type="radio" name="theme" value="dark"><span>Dark</span></label>
</fieldset>"""


class DocsResource:
    """`/docs`: the reference."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Render the reference.

        Args:
            document: The OpenAPI document.
        """
        shell = HtmlShell(styles=["docs.css"], scripts=["docs.js"])
        main = f"""\
<main class="reference">
<div class="introduction">
<h1>Reference</h1>
{render_introduction(document)}
</div>
<nav class="contents" aria-label="Contents">
<a class="skip" href="#operations">Skip the contents</a>
{render_contents(document)}
</nav>
<div id="operations" tabindex="-1">
{render_operations(document)}</div>
</main>"""
        data = shell.document("Reference: Fibonacci numbers", _HEADER, main, "./")
        self._document = StaticDocument(data, HTML, shell.headers)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the reference, or with 304 if the browser has it."""
        self._document.respond(request, response)
