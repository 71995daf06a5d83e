"""Response cache, keyed by the bytes of the request.

It is correct because a cached response never changes and depends on the request's bytes alone: its
status is 200, 206 or 304, the request is one complete GET or HEAD without a body, and the
application marked it as immutable. Every distinct request has passed the parser and all checks
once. Whether the connection persists follows from the request's bytes too. Only Date is replaced.

A response is stored when its request comes for the second time. So clients whose requests are all
different evict nothing, and pay nothing.

A large body is not stored here but read from the client library's cache each time. So that cache
sees each use, and may evict it.
"""

from fibcommon.bounded_cache import BoundedCache, RepeatFilter
from fibweb.server.response import Response, with_date

__all__ = ["CachedResponse", "ResponseCache"]

MAX_RESPONSES = 4096
MAX_BYTES = 32 * 1024 * 1024
"""Maximum size of requests and responses together."""

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a body that is stored here; larger ones are files."""


class CachedResponse:
    """Response whose request has come more than once.

    Attributes:
        response: The response, with the Date of its first use.
        proposed_id: Valid request id that the client proposed, or empty.
    """

    __slots__ = ("_data", "_second", "proposed_id", "response")

    def __init__(self, response: Response) -> None:
        self.response = response
        request = response.request
        self.proposed_id = request.id if request.headers.get("X_REQUEST_ID") == request.id else ""
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
    """Responses by the bytes of their requests.

    Attributes:
        get: Returns the response to a request, given its bytes, or None.
    """

    def __init__(self) -> None:
        """Create an empty cache."""
        self._cache: BoundedCache[bytes, CachedResponse] = BoundedCache(MAX_RESPONSES, MAX_BYTES)
        self._repeats = RepeatFilter(4 * MAX_RESPONSES)
        self.get = self._cache.get

    def put(self, request: bytes, response: Response) -> None:
        """Add the response to a request, if the request has come before and it is small enough.

        Args:
            request: Bytes of the complete request.
            response: A cacheable response.
        """
        if len(response.body) > MAX_BODY_BYTES or not self._repeats.is_repeated(request):
            return
        if response.file is not None:
            # The connection is still sending its own file, which may hold a fetched piece.
            response = response._replace(file=response.file.reopened())
        # A CachedResponse holds header and body twice.
        size = len(request) + 2 * (len(response.header) + len(response.body))
        self._cache.put(request, CachedResponse(response), size)
