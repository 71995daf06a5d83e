"""Tests for the builder of pages."""

import base64
import hashlib
import re

import pytest

from fibweb.assets.es_modules import BundleError
from fibweb.assets.page_builder import PageBuilder

SOURCES = {
    "style.css": "/* colours */\nbody {\n  color: red;\n}\n",
    "early.js": "// before the first paint\nconst now = 1;\n",
    "main.js": 'import { a } from "./a.js";\nconsole.log(a); // a\n',
    "a.js": "export const a = 1;\n",
    "icon.svg": "<svg/>\n",
}
HTML = (
    '<link rel="icon" href="page/icon.svg"><link rel="stylesheet" href="page/style.css">\n'
    '<script src="page/early.js"></script><script type="module" src="page/main.js"></script>\n'
    '<a href="./"><img src="page/icon.svg"></a>\n'
)


def test_page_refers_to_its_files_by_hash() -> None:
    """Names have a hash of the content; scripts and style sheets are minified."""
    builder = PageBuilder(SOURCES)
    html = builder.build(HTML).html.decode()
    referred = set(re.findall(r'"page/([^"]*)"', html))
    assert referred == {asset.hashed_name for asset in builder.assets.values()}
    assert set(builder.assets) == {"icon.svg", "style.css", "main.js"}
    for name, asset in builder.assets.items():
        digest = hashlib.sha256(asset.data).hexdigest()[:16]
        assert asset.hashed_name == f"-{digest}.".join(name.split("."))
    assert builder.assets["style.css"].data == b"body{color:red}"
    assert b"//" not in builder.assets["main.js"].data
    changed = PageBuilder({**SOURCES, "a.js": "export const a = 2;\n"})
    changed.build(HTML)
    assert changed.assets["main.js"].hashed_name != builder.assets["main.js"].hashed_name
    assert changed.assets["style.css"] == builder.assets["style.css"]


def test_script_before_the_first_paint_is_inserted() -> None:
    """A classic script is part of the page, and the policy has its hash."""
    page = PageBuilder(SOURCES).build(HTML)
    assert b"<script>const now=1;</script>" in page.html
    digest = base64.b64encode(hashlib.sha256(b"const now=1;").digest()).decode()
    assert page.script_sources == f"'self' 'sha256-{digest}'"


def test_pages_share_assets() -> None:
    """Several pages have the same style sheet at the same address."""
    builder = PageBuilder(SOURCES)
    pages = [builder.build(f'{ending}<link href="page/style.css">') for ending in ("", "<p>")]
    assert pages[0].script_sources == "'self'"
    assert len(builder.assets) == 1
    assert all(builder.assets["style.css"].hashed_name.encode() in page.html for page in pages)


@pytest.mark.parametrize(
    ("html", "changes", "message"),
    [
        ('<script src="page/gone.js"></script>', {}, "gone.js of a page does not exist"),
        (
            '<script type="module" src="page/gone.js"></script>',
            {},
            "gone.js of a page does not exist",
        ),
        ('<link href="page/gone.css">', {}, "gone.css of a page does not exist"),
        ('<link href="page/font.woff2">', {}, 'refers to "page/font.woff2"'),
        ('<script defer src="page/main.js"></script>', {}, 'refers to "page/main.js"'),
        ('<link href="page/style.css">', {"style.css": "a { b: url(c) }"}, "refers to a file"),
        ('<link href="page/style.css">', {"style.css": '@import "x.css";'}, "refers to a file"),
        (
            '<script src="page/early.js"></script>',
            {"early.js": 'const a = "</script>";'},
            "cannot be inserted",
        ),
        (
            '<script type="module" src="page/main.js"></script>',
            {"a.js": "export const a = `${b && `  ${b}`}`;\n"},
            "main.js: template literals cannot be nested: '${b && `",
        ),
    ],
)
def test_unknown_references_are_errors(html: str, changes: dict[str, str], message: str) -> None:
    """A reference that would not work in the browser is an error when the page is built."""
    with pytest.raises(BundleError, match=re.escape(message)):
        PageBuilder({**SOURCES, **changes}).build(html)
