"""Cache of parsed request headers, keyed by their bytes.

Clients send the same headers again and again. When the headers are in the cache, only the request
line is parsed, here, which saves a fifth of the request's time on the event loop. That works for a
simple request: a complete GET or HEAD without a body, with no percent-encoding in its request
line, on a persistent connection. Waitress parses all others.
"""

import re

from fibcommon.bounded_cache import BoundedCache, RepeatFilter
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import RequestContext

__all__ = ["ParsedHeaderCache"]

MAX_CACHED_HEADERS = 512
MAX_CACHED_BYTES = 2048
"""Maximum size of the headers of one request; browsers with many cookies send more."""

_LINE = re.compile(
    r"(GET|HEAD) ((/(?:[A-Za-z0-9._~-][A-Za-z0-9._~/-]*)?)(?:\?([A-Za-z0-9._~/=&,*+-]*))?) "
    r"HTTP/1\.1\r\n"
)


class ParsedHeaderCache:
    """Requests by the bytes of their headers, for one listening socket."""

    def __init__(self) -> None:
        """Create an empty cache."""
        self._cache: BoundedCache[str, HttpRequest] = BoundedCache(MAX_CACHED_HEADERS)
        self._repeats = RepeatFilter(4 * MAX_CACHED_HEADERS)

    def __len__(self) -> int:
        """Return the number of cached headers."""
        return len(self._cache)

    def get(self, data: bytes) -> HttpRequest | None:
        """Return the simple request in `data` if its headers are cached, else None.

        Args:
            data: All bytes received.
        """
        text = data.decode("latin-1")
        line = _LINE.match(text)
        if line is None:
            return None
        known = self._cache.get(text[line.end() :])
        return None if known is None else known.with_line(*line.groups(default=""))

    def put(self, data: bytes, request: HttpRequest, context: RequestContext) -> None:
        """Add the headers of a request, if they have come before and it is simple.

        Args:
            data: Bytes of the request, which is complete.
            request: The parsed request.
            context: Context of the request.
        """
        text = data.decode("latin-1")
        line = _LINE.match(text)
        if line is None or not request.is_simple or len(text) - line.end() > MAX_CACHED_BYTES:
            return
        headers = text[line.end() :]
        if self._repeats.is_repeated(headers):
            request.base_environ(context)
            self._cache.put(headers, request)
