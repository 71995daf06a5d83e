"""The replay handling: the very bytes of a request seen before lead to its ready answer.

It is sound because such an answer never changes and depends on nothing but the request's bytes: it
was given, as 200, 206 or 304, to one whole GET or HEAD without a body, and the application marked
it as immutable. Every distinct request has gone once through the parser and all checks. What
becomes of the connection is part of those bytes too; only the Date is written anew.

A large body is not kept here but looked up in the client's cache each time. So the cache sees what
is in use, and what it drops is dropped.
"""

from functools import lru_cache

from waitress.utilities import build_http_date

from fibweb.server.response import Response

__all__ = ["CachedResponse", "ResponseCache", "http_date", "is_cacheable"]

MAX_REPLAYS = 4096
MAX_BYTES = 32 * 1024 * 1024
"""Of requests and answers together. When either limit is reached all are forgotten: a map that is
full and learns no more would leave every new client on the slow path."""

MAX_BODY_BYTES = 64 * 1024
"""Of a body that is kept here; larger ones are files."""

IMMUTABLE = "public, max-age=31536000, immutable"
METHODS = ("GET", "HEAD")
STATUSES = (200, 206, 304)

_DATE = b"\r\nDate: "


class CachedResponse:
    """An answer to be given again.

    Attributes:
        response: the answer, with a Date.
    """

    __slots__ = ("_data", "_second", "response")

    def __init__(self, response: Response) -> None:
        self.response = response
        self._second = -1
        self._data = b""

    def data(self, second: int) -> bytes:
        """Return the header, dated, and the body that is kept here.

        Args:
            second: the time, since the epoch.
        """
        if second != self._second:
            before, _, behind = self.response.header.partition(_DATE)
            date = http_date(second)
            self._data = b"".join((before, _DATE, date, behind[len(date) :], self.response.body))
            self._second = second
        return self._data


class ResponseCache:
    """The answers given, by the bytes of the requests."""

    def __init__(self) -> None:
        """Start with nothing."""
        # What was given once only is an answer still: most are never asked for again.
        self._replays: dict[bytes, Response | CachedResponse] = {}
        self._size = 0

    def find(self, request: bytes) -> CachedResponse | None:
        """Return the answer to a request, if it is known.

        Args:
            request: its bytes, whole.
        """
        found = self._replays.get(request)
        if isinstance(found, Response):
            found = self._replays[request] = CachedResponse(found)
        return found

    def learn(self, request: bytes, response: Response) -> None:
        """Keep the answer to a request, if it is new and small enough.

        Args:
            request: its bytes, whole.
            response: the answer, which is replayable.
        """
        if request in self._replays or len(response.body) > MAX_BODY_BYTES:
            return
        size = len(request) + 2 * (len(response.header) + len(response.body))  # once dated
        if len(self._replays) >= MAX_REPLAYS or self._size + size > MAX_BYTES:
            self._replays.clear()
            self._size = 0
        self._replays[request] = response
        self._size += size


def is_cacheable(method: str, status: int, cache_control: str) -> bool:
    """Tell whether a request without a body will be answered the same the next time.

    Args:
        method: the request's.
        status: the answer's.
        cache_control: the answer's header of that name.
    """
    return method in METHODS and status in STATUSES and cache_control == IMMUTABLE


@lru_cache(maxsize=2)
def http_date(second: int) -> bytes:
    """Return a time as the Date header has it.

    Args:
        second: since the epoch.
    """
    return build_http_date(second).encode("ascii")
