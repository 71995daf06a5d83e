"""Builder of the web pages: replaces the files that a page refers to by what browsers get.

The source of a page refers to the files in `fibweb/page` by their names, as `page/style.css`:

    <script type="module" src="page/x.js">   one module, bundled with all that it imports
    <script src="page/x.js">                 inserted into the page, to run before the first paint
    href="page/x.css", src="page/x.svg"      style sheets and pictures

Scripts and style sheets are minified. Names get a hash of the content (`page/style-1b2c….css`), so
browsers keep a file until its name changes. Nothing is built before a process starts: who edits a
file sees the change after a restart.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import rcssmin
import rjsmin

from fibweb.assets.es_modules import BundleError, bundle

__all__ = ["Asset", "BuiltPage", "PageBuilder", "inline_source", "minified_script"]

_SCRIPT = re.compile(r'<script src="page/([a-z0-9_]+\.js)"></script>')
_MODULE = re.compile(r'(<script type="module" src=")page/([a-z0-9_]+\.js)"')
_FILE = re.compile(r'((?:href|src)=")page/([a-z0-9_]+\.(?:css|svg))"')
_OTHER = re.compile(r'"page/(?![a-z0-9_]+-[0-9a-f]{16}\.)[^"]*"')

_NESTED_TEMPLATE = re.compile(r"\$\{[^}`]*`[^\n]*")
"""A template literal in another, whose spaces rjsmin would take for those between tokens."""


class Asset(NamedTuple):
    """A file that pages refer to.

    Attributes:
        hashed_name: Its name with the hash of its content, such as `style-0123456789abcdef.css`.
        data: Its content.
    """

    hashed_name: str
    data: bytes


class BuiltPage(NamedTuple):
    """A page that is ready to be served.

    Attributes:
        html: The document.
        script_sources: Sources of scripts for its content security policy.
    """

    html: bytes
    script_sources: str


class PageBuilder:
    """Builds pages that share their assets.

    Attributes:
        assets: The files of all pages built so far, by their names without a hash.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Create a builder without pages.

        Args:
            sources: Texts of the files that pages may refer to, by name.
        """
        self.assets: dict[str, Asset] = {}
        self._sources = sources

    def build(self, html: str) -> BuiltPage:
        """Build a page, and add its files to the assets.

        Args:
            html: Source of the page; only its references to files change.

        Raises:
            BundleError: The page refers to a file that does not exist, or that cannot be built.
        """
        hashes: list[str] = []
        html = _SCRIPT.sub(partial(self._insert, hashes), html)
        html = _MODULE.sub(self._refer, html)
        html = _FILE.sub(self._refer, html)
        if other := _OTHER.search(html):
            raise BundleError(f"cannot build a page that refers to {other[0]}")
        return BuiltPage(html.encode(), " ".join(["'self'", *hashes]))

    def _insert(self, hashes: list[str], match: re.Match[str]) -> str:
        """Return a script element with the script itself, and add its hash."""
        script = minified_script(match[1], self._source(match[1]))
        if "</script" in script or "<!--" in script:
            raise BundleError(f"{match[1]} cannot be inserted: it has </script or <!--")
        hashes.append(inline_source(script))
        return f"<script>{script}</script>"

    def _refer(self, match: re.Match[str]) -> str:
        name = match[2]
        if name not in self.assets:
            data = self._content(name).encode()
            stem, _, suffix = name.rpartition(".")
            digest = hashlib.sha256(data).hexdigest()[:16]
            self.assets[name] = Asset(f"{stem}-{digest}.{suffix}", data)
        return f'{match[1]}page/{self.assets[name].hashed_name}"'

    def _content(self, name: str) -> str:
        source = self._source(name)
        if name.endswith(".js"):
            return minified_script(name, bundle(name, self._sources))
        if name.endswith(".css"):
            if "url(" in source or "@import" in source:
                raise BundleError(f"{name} refers to a file, whose name would lack its hash")
            return str(rcssmin.cssmin(source))
        return source

    def _source(self, name: str) -> str:
        if name not in self._sources:
            raise BundleError(f"file {name} of a page does not exist")
        return self._sources[name]


def inline_source(text: str) -> str:
    """Return the source of an inline script or style for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def minified_script(name: str, script: str) -> str:
    """Return a script without comments and white space.

    Args:
        name: Its name, for errors.
        script: The script.

    Raises:
        BundleError: The script has nested template literals, which the minifier breaks.
    """
    if nested := _NESTED_TEMPLATE.search(script):
        raise BundleError(f"{name}: template literals cannot be nested: {nested[0]!r}")
    return str(rjsmin.jsmin(script))
