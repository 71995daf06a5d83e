"""Frame of the HTML documents beside the page: reference, errors, types of problems.

Each document has its styles and scripts inline, so that it needs no other request, whatever went
wrong and wherever a proxy mounts it. The content security policy allows exactly these, by their
hashes. The design is that of the page: its style sheet is shared up to the parts that only the
page has.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources

import rcssmin

from fibweb.assets.page_builder import inline_source, minified_script

__all__ = ["HTML", "HtmlShell", "plain_shell"]

HTML = "text/html; charset=utf-8"

_PAGE_ONLY = "/* Asking */"
"""Comment in the style sheet of the page after which its parts are of no use to others."""


class HtmlShell:
    """Frame of HTML documents with the same styles and scripts.

    Attributes:
        headers: Headers of each document, the content security policy among them.
    """

    def __init__(self, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> None:
        """Read the files.

        Args:
            styles: Names of style sheets in `fibweb/site` besides the common one.
            scripts: Names of scripts in `fibweb/site`, which run at the end of the body.
        """
        common, mark, _ = _read("page/style.css").partition(_PAGE_ONLY)
        assert mark, f"page/style.css has no {_PAGE_ONLY}"
        sheets = [_read(f"site/{name}") for name in ("document.css", *styles)]
        self._style = str(rcssmin.cssmin("".join([common, *sheets])))
        # The chosen colours are applied before the first paint.
        self._theme = _script("page/theme.js")
        self._scripts = [_script(f"site/{name}") for name in scripts]
        self._icon = _read("page/icon.svg").replace("<svg ", '<svg width="34" height="34" ', 1)
        self.headers: Mapping[str, str] = {
            "Content-Security-Policy": "; ".join(
                (
                    "default-src 'none'",
                    f"style-src {inline_source(self._style)}",
                    f"script-src {' '.join(map(inline_source, (self._theme, *self._scripts)))}",
                    *(["connect-src 'self'"] if scripts else []),
                    "img-src 'self'",
                    "base-uri 'none'",
                    "form-action 'self'",
                    "frame-ancestors 'none'",
                )
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def document(self, title: str, header: str, main: str, root: str) -> bytes:
        """Return a document.

        Args:
            title: Title, as text.
            header: HTML of the header, after the link to the page.
            main: HTML of the content.
            root: Relative URL of the root of the application, such as `./`.
        """
        scripts = "".join(f"<script>{script}</script>\n" for script in self._scripts)
        return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="{escape(root)}favicon.ico">
<style>{self._style}</style>
<script>{self._theme}</script>
</head>
<body>
<header class="site">
<a class="brand" href="{escape(root)}">{self._icon}<span>Fibonacci</span></a>
{header}
</header>
{main}
{scripts}</body>
</html>
""".encode()


@cache
def plain_shell() -> HtmlShell:
    """Return the frame of documents without scripts of their own."""
    return HtmlShell()


def _read(name: str) -> str:
    return (resources.files("fibweb") / name).read_text(encoding="utf-8")


def _script(name: str) -> str:
    script = minified_script(name, _read(name))
    assert "</script" not in script
    assert "<!--" not in script
    return script
