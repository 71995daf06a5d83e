"""Cross-origin resource sharing (CORS, the Fetch standard)."""

from collections.abc import Collection

import falcon

__all__ = ["CorsPolicy"]

EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Link, Retry-After, X-Request-ID"
)
ALLOWED_METHODS = "GET, HEAD, OPTIONS"
ALLOWED_HEADERS = "If-Match, If-None-Match, If-Range, Range, X-Request-ID"
PREFLIGHT_SECONDS = 86_400
"""The longest that any browser caches the result of a preflight request."""


class CorsPolicy:
    """CORS policy, and the Falcon middleware that applies it."""

    def __init__(self, origins: Collection[str]) -> None:
        """Create a policy.

        Args:
            origins: Allowed origins, such as `https://example.org`; `*` allows all, and an empty
                collection none.
        """
        self._origins = frozenset(origins)
        self._is_any = "*" in self._origins

    def headers(self, origin: str) -> dict[str, str]:
        """Return the headers of a response to a GET or HEAD request, errors included.

        Args:
            origin: The Origin header of the request, or empty.
        """
        headers = {}
        if self._origins and not self._is_any:
            # Also without an Origin: a cache must not reuse the response for another origin.
            headers["Vary"] = "Origin"
        if self._is_any or origin in self._origins:
            headers["Access-Control-Allow-Origin"] = "*" if self._is_any else origin
            headers["Access-Control-Expose-Headers"] = EXPOSED
        return headers

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: object, succeeded: bool
    ) -> None:
        """Add the CORS headers to a response, errors included."""
        headers = self.headers(request.env.get("HTTP_ORIGIN", ""))
        is_preflight = request.method == "OPTIONS"
        for name, text in headers.items():
            if name == "Vary":
                response.append_header(name, text)
            elif name != "Access-Control-Expose-Headers" or not is_preflight:
                response.set_header(name, text)
        is_allowed = "Access-Control-Allow-Origin" in headers
        if is_preflight and is_allowed and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.env:
            response.set_header("Access-Control-Allow-Methods", ALLOWED_METHODS)
            response.set_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
            response.set_header("Access-Control-Max-Age", str(PREFLIGHT_SECONDS))
