"""Counts of answered requests: by route, code, format and handling, and how long they took.

Counting is on the way of every request, a replayed one of which takes some microseconds, so it
is two additions and two look-ups. Whatever clients send, there are only so many routes, codes and
formats.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence

from fibcommon.formats import FORMATS
from fibweb.http.mounting import path_below
from fibweb.stats.access_record import AccessRecord
from fibweb.stats.metric_values import Samples

__all__ = ["BUCKET_SECONDS", "RequestMetrics", "format_of", "quantile", "route_of"]

BUCKET_SECONDS = tuple(
    float(f"{step}e{exponent}") for exponent in range(-6, 2) for step in (1, 2, 5)
)
"""The upper bounds of the latency buckets, from 1 µs to 50 s; one more is without bound."""

MAX_SEEN = 4096
"""So many kinds of requests are remembered, then all are forgotten."""

OTHER = "other"

NUMBERS = ("/fib/{n}", "/fib", "/number/{n}")
"""The routes whose answers are numbers."""

_FORMATS = {
    "application/problem+json": "problem",
    **{each.media_type: each.name for each in reversed(FORMATS.values()) if each.name != "bfile"},
}


class RequestMetrics:
    """What has been answered; all but `counters` is for the thread of the event loop."""

    def __init__(self, paths: Collection[str], root_path: str = "") -> None:
        """Start with nothing.

        Args:
            paths: those that are routes by themselves.
            root_path: a prefix that targets may have.
        """
        self._root_path = root_path
        self._paths = frozenset(paths)
        self._seen: dict[tuple[str, int, str, str], list[int]] = {}
        self._requests: dict[tuple[str, ...], list[int]] = {}
        self._handlings: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def record(self, exchange: AccessRecord) -> None:
        """Count one request."""
        handling = exchange.handling
        path = exchange.target.partition("?")[0]
        kind = (path, exchange.status, exchange.media_type, handling)
        cell = self._seen.get(kind) or self._cell(kind)
        cell[0] += 1
        cell[1] += exchange.body_bytes
        if handling not in self._handlings:
            self._handlings[handling] = [0] * (len(BUCKET_SECONDS) + 1)
            self._seconds[handling] = 0.0
        self._handlings[handling][bisect_left(BUCKET_SECONDS, exchange.seconds)] += 1
        self._seconds[handling] += exchange.seconds

    def counters(self) -> Samples:
        """Return the figures.

        They are `requests` and `bytes`, `cache_hits` and `cache_misses` (answers with numbers,
        without and with asking a fibserver), `latency` (by bucket) and `seconds`.
        """
        counters: Samples = {("cache_hits",): 0, ("cache_misses",): 0}
        for labels, (count, size_bytes) in list(self._requests.items()):
            counters["requests", *labels] = count
            counters["bytes", *labels] = size_bytes
            route, code, _, handling = labels
            if route in NUMBERS and code in ("200", "206"):
                counters["cache_misses" if handling == "threaded" else "cache_hits",] += count
        for handling, buckets in list(self._handlings.items()):
            for number, count in enumerate(buckets):
                counters["latency", handling, str(number)] = count
        for handling, seconds in list(self._seconds.items()):
            counters["seconds", handling] = seconds
        return counters

    def _cell(self, kind: tuple[str, int, str, str]) -> list[int]:
        path, status, media_type, handling = kind
        route = route_of(path_below(self._root_path, path), self._paths)
        labels = (route, str(status), format_of(media_type), handling)
        cell = self._requests.setdefault(labels, [0, 0])
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen[kind] = cell
        return cell


def route_of(target: str, paths: Collection[str]) -> str:
    """Return the route that a request's target is for, `other` if none.

    Args:
        target: as the request line has it.
        paths: those that are routes by themselves.
    """
    path = target.partition("?")[0]
    if path in paths:
        return path
    for prefix in ("/fib/", "/number/"):
        if path.startswith(prefix):
            return f"{prefix}{{n}}"
    return OTHER


def format_of(media_type: str) -> str:
    """Return the format of an answer, `problem` of an error, `none` without a body.

    Args:
        media_type: parameters and all; bfile shares its media type with text, and counts as that.
    """
    if not media_type:
        return "none"
    return _FORMATS.get(media_type.partition(";")[0], OTHER)


def quantile(buckets: Sequence[float], share: float) -> float | None:
    """Return the seconds that a share of the requests did not exceed, as exactly as is known.

    Args:
        buckets: how many requests each bucket has.
        share: 0 to 1.

    Returns:
        the upper bound of the bucket that it lies in, the greatest that there is if that has
        none; None without requests.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    reached = 0.0
    for bound, count in zip(BUCKET_SECONDS, buckets, strict=False):
        reached += count
        if reached >= rank:
            return bound
    return BUCKET_SECONDS[-1]
