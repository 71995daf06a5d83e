"""Web page of fibweb, built once and served from memory.

A content security policy forbids scripts and resources of other origins, and all inline code but
the scripts that the builder inserts, by their hashes. Browsers revalidate a page at each use, and
keep its assets, whose names change with their content. All URLs in a page are relative, so it
works below any path prefix.
"""

import re
from collections.abc import Iterable
from importlib import resources

import falcon

from fibweb.assets.page_builder import Asset, BuiltPage, PageBuilder
from fibweb.http.mounting import mount_path
from fibweb.http.representations import CACHE_CONTROL
from fibweb.resources.compression import StaticDocument

__all__ = ["AssetResource", "IndexResource", "Site"]

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_ASSET_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

_PAGE_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_POLICY = (
    "default-src 'none'; script-src {}; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_HASH = re.compile(r"-[0-9a-f]{16}(?=\.[a-z]+$)")


class Site:
    """The page and its assets, from the files in `fibweb/page`.

    Attributes:
        index: Resource of the page.
        assets: Resource of its assets.
    """

    def __init__(self) -> None:
        """Build the page."""
        folder = resources.files("fibweb") / "page"
        sources = {
            file.name: file.read_text("utf-8")
            for file in folder.iterdir()
            if file.name.rpartition(".")[2] in _MEDIA_TYPES
        }
        builder = PageBuilder(sources)
        self.index = IndexResource(builder.build(sources["index.html"]))
        self.assets = AssetResource(builder.assets.values())


class IndexResource:
    """Page at the root, whose URL must end with a slash, for its relative URLs to work."""

    def __init__(self, page: BuiltPage) -> None:
        """Compress the page.

        Args:
            page: The page.
        """
        policy = _POLICY.format(page.script_sources)
        headers = {"Content-Security-Policy": policy, **_PAGE_HEADERS}
        self._document = StaticDocument(page.html, _MEDIA_TYPES["html"], headers)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the page, with 304, or redirect from `/prefix` to `/prefix/`."""
        prefix = mount_path(request.env)
        if prefix and not request.env["PATH_INFO"]:
            query = f"?{request.query_string}" if request.query_string else ""
            raise falcon.HTTPMovedPermanently(f"{prefix}/{query}")
        self._document.respond(request, response)


class AssetResource:
    """`/page/{name}`: scripts, style sheets and pictures of the pages."""

    def __init__(self, assets: Iterable[Asset]) -> None:
        """Compress the assets.

        Args:
            assets: The assets of all pages.
        """
        self._documents = {
            asset.hashed_name: StaticDocument(
                asset.data, _MEDIA_TYPES[asset.hashed_name.rpartition(".")[2]], _ASSET_HEADERS
            )
            for asset in assets
        }
        self._current = {_without_hash(name): name for name in self._documents}

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Respond with an asset, or with 404 if no page has it.

        While hosts behind a load balancer are upgraded one after another, a page may come from one
        version and its assets from another. So a name with another hash, or without one, gets the
        current content, which must not be cached.
        """
        document = self._documents.get(name)
        if document is not None:
            document.respond(request, response, CACHE_CONTROL)
            return
        current = self._current.get(_without_hash(name))
        if current is None:
            raise falcon.HTTPNotFound
        self._documents[current].respond(request, response)


def _without_hash(name: str) -> str:
    """Return `style.css` for `style-0123456789abcdef.css`; other names unchanged."""
    return _HASH.sub("", name)
