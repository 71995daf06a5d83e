"""How long requests take: percentiles from counts, however many requests there were.

Two kinds of counts: those of `Latencies`, which this machine has measured, a percent apart; and
those that LATENCY HISTOGRAM answers, a factor of two apart, since the server's start.
"""

import math
from collections.abc import Iterable

from fibclient.connections.resp import Reply

__all__ = ["Latencies", "parse_histograms", "quantile"]

_LOWEST_SECONDS = 1e-6
_RATIO = 1.01
_LOG_RATIO = math.log(_RATIO)


class Latencies:
    """Latencies that were measured: counts a percent apart, and the longest as it was.

    Attributes:
        count: how many there are.
        longest_seconds: the longest of them.
    """

    __slots__ = ("_counts", "count", "longest_seconds")

    def __init__(self) -> None:
        self.count = 0
        self.longest_seconds = 0.0
        self._counts: dict[int, int] = {}

    def record(self, seconds: float) -> None:
        """Count a latency; what is below a microsecond counts as one."""
        place = int(math.log(max(seconds, _LOWEST_SECONDS) / _LOWEST_SECONDS) / _LOG_RATIO)
        self._counts[place] = self._counts.get(place, 0) + 1
        self.count += 1
        self.longest_seconds = max(self.longest_seconds, seconds)

    def add(self, other: "Latencies") -> None:
        """Count all that another has counted."""
        for place, count in other._counts.items():
            self._counts[place] = self._counts.get(place, 0) + count
        self.count += other.count
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many percent of the requests did not exceed.

        Args:
            percent: 0 to 100.

        Returns:
            to about a percent; 0 if nothing was counted.
        """
        buckets = (
            (_LOWEST_SECONDS * _RATIO**place, _LOWEST_SECONDS * _RATIO ** (place + 1), count)
            for place, count in sorted(self._counts.items())
        )
        return min(quantile(buckets, percent / 100), self.longest_seconds)


def quantile(buckets: Iterable[tuple[float, float, int]], share: float) -> float:
    """Return what a share of all values does not exceed; within a bucket they are spread evenly.

    Args:
        buckets: the bounds of each and the number of values in it, in ascending order.
        share: 0 to 1.

    Returns:
        0 if there are no values.
    """
    buckets = [bucket for bucket in buckets if bucket[2]]
    rank = share * sum(count for _, _, count in buckets)
    value = 0.0
    for low, high, count in buckets:
        value = low + (high - low) * min(1.0, rank / count)
        if rank <= count:
            break
        rank -= count
    return value


def parse_histograms(reply: Reply) -> dict[str, dict[int, int]]:
    """Return what LATENCY HISTOGRAM says, made plain: how many calls took how long.

    Args:
        reply: for each command its name, and `calls` and `histogram_usec` with the bounds in
            microseconds, each with the number of calls that took no longer.

    Returns:
        for each command its counts by bound, of those that took no longer than this bound and
        longer than any before; what is no histogram is left out.
    """
    histograms = {}
    for name, facts in _pairs(reply):
        bounds = dict(_pairs(facts)).get("histogram_usec")
        before = 0
        counts = histograms[name] = dict[int, int]()
        for bound, total in _pairs(bounds):
            if bound.isdigit() and isinstance(total, int):
                counts[int(bound)] = total - before
                before = total
    return histograms


def _pairs(reply: Reply) -> Iterable[tuple[str, Reply]]:
    """Return the keys and values of a map, which is a flat list in RESP2."""
    items = reply if isinstance(reply, list) else []
    keys = (
        key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in items
    )
    return list(zip(list(keys)[::2], items[1::2], strict=False))
