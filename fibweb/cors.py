"""Who may read answers from a page of another origin (CORS, the Fetch standard)."""

from collections.abc import Collection

import falcon

__all__ = ["CrossOriginReading"]

EXPOSED = "Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, X-Request-ID"
ALLOWED_METHODS = "GET, HEAD, OPTIONS"
ALLOWED_HEADERS = "If-Match, If-None-Match, If-Range, Range, X-Request-ID"
PREFLIGHT_SECONDS = 86_400
"""As long as any browser remembers."""


class CrossOriginReading:
    """The middleware that says so in each answer."""

    def __init__(self, origins: Collection[str]) -> None:
        """Allow some origins.

        Args:
            origins: such as `https://example.org`; `*` among them allows all.
        """
        self._origins = frozenset(origins)
        self._is_any = "*" in self._origins

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: object, succeeded: bool
    ) -> None:
        """Add the headers, errors' included, which a page may read as well."""
        if self._is_any:
            allowed = "*"
        else:
            # Even to those without an origin: a cache must not give them what others get.
            response.append_header("Vary", "Origin")
            allowed = request.env.get("HTTP_ORIGIN", "")
            if allowed not in self._origins:
                return
        response.set_header("Access-Control-Allow-Origin", allowed)
        if request.method != "OPTIONS":
            response.set_header("Access-Control-Expose-Headers", EXPOSED)
        elif "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.env:
            response.set_header("Access-Control-Allow-Methods", ALLOWED_METHODS)
            response.set_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
            response.set_header("Access-Control-Max-Age", str(PREFLIGHT_SECONDS))
