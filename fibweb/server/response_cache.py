"""Response cache, keyed by the bytes of the request.

The values of query parameters that the application does not read are no part of the key, so links
with `?utm_source=…` or a counter get the same response.

It is correct because a cached response never changes and depends on its key alone: its status is
200, 206 or 304, the request is one complete GET or HEAD without a body, and the application marked
it as immutable. A request of each key has passed the parser and all checks. One with another value
of an ignored parameter has the same key only if its request line has nothing but plain characters,
so it would pass as well. Whether the connection persists follows from the key too. Only Date is
replaced.

A response is stored when its request comes for the second time. So clients whose requests are all
different evict nothing; each of their requests costs two look-ups.

A large body is not stored here but read from the client library's cache each time. So that cache
sees each use, and may evict it.
"""

import re
from collections.abc import Collection

from fibcommon.bounded_cache import BoundedCache, RepeatFilter
from fibweb.server.response import Response, with_date

__all__ = ["CachedResponse", "ResponseCache"]

_QUERY = re.compile(
    rb"(?:GET|HEAD) /[A-Za-z0-9._~/-]*\?([A-Za-z0-9._~/&,*+-]+=[A-Za-z0-9._~/=&,*+-]*) HTTP/1\.1"
)
"""Query with a value in the request line, if nothing in the line is percent-encoded."""

MAX_RESPONSES = 4096
MAX_BYTES = 32 * 1024 * 1024
"""Maximum size of requests and responses together."""

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a body that is stored here; larger ones are files."""


class CachedResponse:
    """Response whose request has come more than once.

    Attributes:
        request: Bytes of its request.
        response: The response, with the Date of its first use.
        proposed_id: Valid request id that the client proposed, or empty.
    """

    __slots__ = ("_data", "_second", "proposed_id", "request", "response")

    def __init__(self, request: bytes, response: Response) -> None:
        self.request = request
        self.response = response
        parsed = response.request
        self.proposed_id = parsed.id if parsed.headers.get("X_REQUEST_ID") == parsed.id else ""
        self._second = -1
        self._data = b""

    def data(self, second: int) -> bytes:
        """Return the header with the current Date, and the body that is stored here.

        Args:
            second: Current time, in whole seconds since the epoch.
        """
        if second != self._second:
            self._data = with_date(self.response.header, second) + self.response.body
            self._second = second
        return self._data


class ResponseCache:
    """Responses by the bytes of their requests."""

    def __init__(self, parameters: Collection[str] | None = None) -> None:
        """Create an empty cache.

        Args:
            parameters: Names of the query parameters whose values matter; None for all.
        """
        # Finds each parameter: with its value if that matters, else up to it.
        self._parameter: re.Pattern[bytes] | None = None
        if parameters is not None:
            names = "|".join(map(re.escape, parameters))
            self._parameter = re.compile(rf"(?<![^&])((?:{names})=[^&]*|[^=&]*=?)".encode())
        self._cache: BoundedCache[bytes, CachedResponse] = BoundedCache(MAX_RESPONSES, MAX_BYTES)
        self._repeats = RepeatFilter(4 * MAX_RESPONSES)
        self._get = self._cache.get

    def get(self, request: bytes) -> CachedResponse | None:
        """Return the response to a request, or None.

        Args:
            request: All bytes received.
        """
        cached = self._get(request)
        if cached is None and (key := self._key(request)) is not request:
            cached = self._get(key)
        return cached

    def put(self, request: bytes, response: Response) -> None:
        """Add the response to a request, if the request has come before and it is small enough.

        Args:
            request: Bytes of the complete request.
            response: A cacheable response.
        """
        key = self._key(request)
        if len(response.body) > MAX_BODY_BYTES or not self._repeats.is_repeated(key):
            return
        if response.file is not None:
            # The connection is still sending its own file, which may hold a fetched piece.
            response = response._replace(file=response.file.reopened())
        # A CachedResponse holds header and body twice.
        size = len(key) + len(request) + 2 * (len(response.header) + len(response.body))
        self._cache.put(key, CachedResponse(request, response), size)

    def _key(self, request: bytes) -> bytes:
        """Return a request without the values of parameters that do not matter."""
        if self._parameter is None or (query := _QUERY.match(request)) is None:
            return request
        begin, end = query.span(1)
        parts = self._parameter.findall(query[1])
        return request[:begin] + b"&".join(parts) + request[end:]
