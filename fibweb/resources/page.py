"""Web page of fibweb: static files, read once and served from memory.

A content security policy forbids inline scripts and resources from other origins. Browsers cache
the files and revalidate them at each use. All URLs in the page are relative, so it works below any
path prefix.
"""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

import falcon

from fibweb.http.entity_tags import is_not_modified
from fibweb.http.mounting import mount_path

__all__ = ["page_resources"]

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

INDEX = "index.html"


def page_resources() -> dict[str, object]:
    """Return the Falcon resources of the page by path."""
    files = {
        file.name: _PageFile(file)
        for file in (resources.files("fibweb") / "page").iterdir()
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }
    index = _Index(files.pop(INDEX))
    return {"/": index} | {f"/page/{name}": files[name] for name in sorted(files)}


class _PageFile:
    """Resource of one static file."""

    def __init__(self, file: Traversable) -> None:
        self._data = file.read_bytes()
        self._media_type = _MEDIA_TYPES[file.name.rpartition(".")[2]]
        self._tag = f'"{hashlib.sha256(self._data).hexdigest()[:32]}"'

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the file, or with 304 if the browser has it."""
        response.set_headers(_HEADERS)
        response.set_header("ETag", self._tag)
        if is_not_modified(request.env.get("HTTP_IF_NONE_MATCH", ""), self._tag):
            response.status = falcon.HTTP_304
        else:
            response.content_type = self._media_type
            response.data = self._data


class _Index:
    """Resource of the HTML page. Its URL must end with a slash, for its relative URLs to work."""

    def __init__(self, file: _PageFile) -> None:
        self._file = file

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the page, or redirect from `/prefix` to `/prefix/`."""
        prefix = mount_path(request.env)
        if prefix and not request.env["PATH_INFO"]:
            query = f"?{request.query_string}" if request.query_string else ""
            raise falcon.HTTPMovedPermanently(f"{prefix}/{query}")
        self._file.on_get(request, response)
