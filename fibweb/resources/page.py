"""The page for people: its files, read once and served from memory.

They come with a policy that lets a browser load nothing from elsewhere and run nothing that stands
inside the page. Browsers keep the files and ask each time whether they are still the same.

The page's URLs are relative, so it works below any path prefix.
"""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

import falcon

from fibweb.http.entity_tags import is_known
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
    """Return what the page consists of: a Falcon resource for each path."""
    files = {
        file.name: _PageFile(file)
        for file in (resources.files("fibweb") / "page").iterdir()
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }
    index = _Index(files.pop(INDEX))
    return {"/": index} | {f"/page/{name}": files[name] for name in sorted(files)}


class _PageFile:
    """A file of the page, in memory."""

    def __init__(self, file: Traversable) -> None:
        self._data = file.read_bytes()
        self._media_type = _MEDIA_TYPES[file.name.rpartition(".")[2]]
        self._tag = f'"{hashlib.sha256(self._data).hexdigest()[:32]}"'

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer the file, or 304 to a browser that has it."""
        response.set_headers(_HEADERS)
        response.set_header("ETag", self._tag)
        if is_known(request.env.get("HTTP_IF_NONE_MATCH", ""), self._tag):
            response.status = falcon.HTTP_304
        else:
            response.content_type = self._media_type
            response.data = self._data


class _Index:
    """The page itself, whose URL ends with a slash: its relative URLs depend on that."""

    def __init__(self, file: _PageFile) -> None:
        self._file = file

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer the page, or redirect from `/prefix` to `/prefix/`."""
        prefix = mount_path(request.env)
        if prefix and not request.env["PATH_INFO"]:
            query = f"?{request.query_string}" if request.query_string else ""
            raise falcon.HTTPMovedPermanently(f"{prefix}/{query}")
        self._file.on_get(request, response)
