"""Web page of fibweb, built when the process starts and served from memory.

    site = Site()
    routes = {"/": site.page("index.html"), **site.asset_routes()}

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

__all__ = ["PageResource", "Site", "page_resources"]

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


def page_resources() -> dict[str, object]:
    """Return the Falcon resources of the page by path."""
    site = Site()
    return {"/": IndexResource(site.page("index.html")), **site.asset_routes()}


class Site:
    """Pages in `fibweb/page`, and their assets.

    Attributes:
        builder: Builds the pages; for pages that are not in a file.
    """

    def __init__(self) -> None:
        """Read the files."""
        folder = resources.files("fibweb") / "page"
        self._sources = {
            file.name: file.read_text("utf-8")
            for file in folder.iterdir()
            if file.name.rpartition(".")[2] in _MEDIA_TYPES
        }
        self.builder = PageBuilder(self._sources)

    def page(self, name: str) -> "PageResource":
        """Return the resource of an HTML file.

        Args:
            name: Name of the file.
        """
        return PageResource(self.builder.build(self._sources[name]))

    def asset_routes(self) -> dict[str, object]:
        """Return the resource of the assets of all pages made so far, by its route."""
        return {"/page/{name}": AssetResource(self.builder.assets.values())}


class PageResource:
    """Resource of an HTML page."""

    def __init__(self, page: BuiltPage) -> None:
        """Compress the page.

        Args:
            page: The page.
        """
        policy = _POLICY.format(page.script_sources)
        headers = {"Content-Security-Policy": policy, **_PAGE_HEADERS}
        self._document = StaticDocument(page.html, _MEDIA_TYPES["html"], headers)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the page, or with 304 if the browser has it."""
        self._document.respond(request, response)


class IndexResource:
    """Page at the root, whose URL must end with a slash, for its relative URLs to work."""

    def __init__(self, page: PageResource) -> None:
        """Create the resource.

        Args:
            page: The page.
        """
        self._page = page

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the page, or redirect from `/prefix` to `/prefix/`."""
        prefix = mount_path(request.env)
        if prefix and not request.env["PATH_INFO"]:
            query = f"?{request.query_string}" if request.query_string else ""
            raise falcon.HTTPMovedPermanently(f"{prefix}/{query}")
        self._page.on_get(request, response)


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
        current content, which nobody keeps.
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
