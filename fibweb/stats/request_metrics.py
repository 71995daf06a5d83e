"""Request counters by route, status, format and handling, and latency histograms.

The handling is where the response came from: the cache, inline code or a thread (`cached`,
`inline`, `threaded`).

A request from the cache takes only microseconds, so counting it must be cheap: a few additions and
dictionary look-ups. The number of label values is bounded, whatever clients send.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise

from fibcommon.bounded_cache import BoundedCache
from fibcommon.formats import FORMATS
from fibweb.http.mounting import path_below
from fibweb.stats.access_record import AccessRecord
from fibweb.stats.metric_values import Samples

__all__ = [
    "BUCKET_SECONDS",
    "RequestMetrics",
    "bucket_bounds",
    "buckets_of",
    "format_of",
    "route_of",
]

BUCKET_SECONDS = tuple(
    float(f"{step}e{exponent}") for exponent in range(-6, 2) for step in (1, 2, 5)
)
"""Upper bounds of the latency buckets, from 1 µs to 50 s; the last bucket has no bound."""

MAX_CELLS = 4096
"""Maximum number of cached look-ups."""

OTHER = "other"

NUMBERS = ("/fib/{n}", "/fib", "/number/{n}")
"""The routes that return numbers."""

_ROUTES = {
    "/fib/": "/fib/{n}",
    "/number/": "/number/{n}",
    "/digits/": "/digits/{n}",
    "/index/": "/index/{x}",
    "/problems/": "/problems/{name}",
    "/page/": "/page/{name}",
}
"""Routes with a parameter, by how their paths begin."""

_FORMATS = {
    "application/problem+json": "problem",
    **{format.media_type: name for name, format in FORMATS.items() if name != "bfile"},
}


class _Latencies:
    """Latencies of the requests with one handling: a histogram, and their sum in seconds."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKET_SECONDS) + 1)
        self.seconds = 0.0


class RequestMetrics:
    """Counters of requests. Only `counters` may be called outside of the event loop's thread."""

    def __init__(self, paths: Collection[str], root_path: str = "") -> None:
        """Start with all counters at zero.

        Args:
            paths: Paths that are routes without parameters.
            root_path: Path prefix that targets may have.
        """
        self._root_path = root_path
        self._paths = frozenset(paths)
        self._cells: BoundedCache[tuple[str, int, str, str], list[int]] = BoundedCache(MAX_CELLS)
        self._requests: dict[tuple[str, ...], list[int]] = {}
        self._handlings: dict[str, _Latencies] = {}

    def record(self, entry: AccessRecord) -> None:
        """Count one request."""
        _, target, status, body_bytes, seconds, _, _, _, handling, media_type = entry
        path = target.partition("?")[0]
        parent = path.rstrip("0123456789")
        if parent != path:
            path = parent + "0"  # its route is the same, and n may be different each time
        kind = (path, status, media_type, handling)
        cell = self._cells.get(kind) or self._cell(kind)
        cell[0] += 1
        cell[1] += body_bytes
        latencies = self._handlings.get(handling)
        if latencies is None:
            latencies = self._handlings[handling] = _Latencies()
        latencies.buckets[bisect_left(BUCKET_SECONDS, seconds)] += 1
        latencies.seconds += seconds

    def counters(self) -> Samples:
        """Return the counters.

        They are `requests` and `bytes`, `cache_hits` and `cache_misses` (responses with numbers
        without and with a fetch from a fibserver), `latency` by bucket, and `seconds`.
        """
        counters: Samples = {("cache_hits",): 0, ("cache_misses",): 0}
        for labels, (count, size_bytes) in list(self._requests.items()):
            counters["requests", *labels] = count
            counters["bytes", *labels] = size_bytes
            route, code, _, handling = labels
            if route in NUMBERS and code in ("200", "206"):
                counters["cache_misses" if handling == "threaded" else "cache_hits",] += count
        for handling, latencies in list(self._handlings.items()):
            for number, count in enumerate(latencies.buckets):
                counters["latency", handling, str(number)] = count
            counters["seconds", handling] = latencies.seconds
        return counters

    def _cell(self, kind: tuple[str, int, str, str]) -> list[int]:
        path, status, media_type, handling = kind
        route = route_of(path_below(self._root_path, path), self._paths)
        labels = (route, str(status), format_of(media_type), handling)
        cell = self._requests.setdefault(labels, [0, 0])
        self._cells.put(kind, cell)
        return cell


def route_of(target: str, paths: Collection[str]) -> str:
    """Return the route of a request target, or `other`.

    Args:
        target: Request target as received.
        paths: Paths that are routes without parameters.
    """
    path = target.partition("?")[0]
    if path in paths:
        return path
    for prefix, route in _ROUTES.items():
        if path.startswith(prefix):
            return route
    return OTHER


def format_of(media_type: str) -> str:
    """Return the format of a response: `problem` for an error, `none` without a body.

    Args:
        media_type: Content-Type with its parameters. That of `bfile` is the same as that of
            `text`, so it counts as `text`.
    """
    if not media_type:
        return "none"
    return _FORMATS.get(media_type.partition(";")[0], OTHER)


def buckets_of(counters: Samples, handling: str) -> list[float]:
    """Return the number of requests in each latency bucket of one handling.

    Args:
        counters: Values of `RequestMetrics`.
        handling: `cached`, `inline` or `threaded`.
    """
    return [
        counters["latency", handling, str(number)] for number in range(len(BUCKET_SECONDS) + 1)
    ]


def bucket_bounds(buckets: Iterable[float]) -> Iterator[tuple[float, float, int]]:
    """Yield the lower bound, the upper bound (seconds) and the count of each latency bucket.

    The last bucket has no upper bound: its values count as the largest bound.
    """
    bounds = (0.0, *BUCKET_SECONDS, BUCKET_SECONDS[-1])
    for (low, high), count in zip(pairwise(bounds), buckets, strict=False):
        yield low, high, round(count)
