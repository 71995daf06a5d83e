"""`/favicon.ico` and `/robots.txt`: files that browsers and crawlers request by themselves."""

from importlib import resources

import falcon

from fibweb.resources.compression import StaticDocument

__all__ = ["SiteFileResource", "site_file_resources"]

_MEDIA_TYPES = {
    "favicon.ico": "image/vnd.microsoft.icon",
    "robots.txt": "text/plain; charset=utf-8",
}

_CACHE_CONTROL = "public, max-age=86400"
"""A day: the files change only with a version of fibweb, and nobody waits for the change."""


def site_file_resources() -> dict[str, object]:
    """Return the Falcon resources of the files by path."""
    return {f"/{name}": SiteFileResource(name) for name in _MEDIA_TYPES}


class SiteFileResource:
    """Resource of one file in `fibweb/site`."""

    def __init__(self, name: str) -> None:
        """Read the file.

        Args:
            name: Its name.
        """
        data = (resources.files("fibweb") / "site" / name).read_bytes()
        headers = {"X-Content-Type-Options": "nosniff"}
        self._document = StaticDocument(data, _MEDIA_TYPES[name], headers)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the file, or with 304 if the client has it."""
        self._document.respond(request, response, _CACHE_CONTROL)
