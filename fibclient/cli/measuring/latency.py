"""Latency histograms of bounded size, and percentiles from them.

`Latencies` holds what the client has measured, in buckets 1 % wide. LATENCY HISTOGRAM reports what
the server has measured since its start, in buckets a factor of two wide.
"""

import math
from collections.abc import Iterable

from fibclient.connections.resp import Reply
from fibcommon.quantiles import quantile

__all__ = ["Latencies", "parse_histograms"]

_LOWEST_SECONDS = 1e-6
_RATIO = 1.01
_LOG_RATIO = math.log(_RATIO)


class Latencies:
    """A histogram of measured latencies, with buckets 1 % wide and the exact maximum.

    Attributes:
        count: The number of latencies.
        longest_seconds: The longest of them.
    """

    __slots__ = ("_counts", "count", "longest_seconds")

    def __init__(self) -> None:
        self.count = 0
        self.longest_seconds = 0.0
        self._counts: dict[int, int] = {}

    def record(self, seconds: float) -> None:
        """Count a latency; one below a microsecond counts as a microsecond."""
        bucket = int(math.log(max(seconds, _LOWEST_SECONDS) / _LOWEST_SECONDS) / _LOG_RATIO)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.longest_seconds = max(self.longest_seconds, seconds)

    def add(self, other: "Latencies") -> None:
        """Add the counts of another histogram."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)

    def percentile(self, percent: float) -> float:
        """Return the latency that `percent` percent of the requests did not exceed.

        Args:
            percent: 0 to 100.

        Returns:
            Seconds, accurate to about 1 %; 0 if nothing was counted.
        """
        buckets = (
            (_LOWEST_SECONDS * _RATIO**bucket, _LOWEST_SECONDS * _RATIO ** (bucket + 1), count)
            for bucket, count in sorted(self._counts.items())
        )
        return min(quantile(buckets, percent / 100), self.longest_seconds)


def parse_histograms(reply: Reply) -> dict[str, dict[int, int]]:
    """Parse the reply to LATENCY HISTOGRAM.

    Args:
        reply: A map from command names to `calls` and `histogram_usec`; the latter maps upper
            bounds in microseconds to the number of calls that took no longer.

    Returns:
        For each command, the number of calls in each bucket by its upper bound. Parts that are
        not histograms are left out.
    """
    histograms = {}
    for name, info in _pairs(reply):
        bounds = dict(_pairs(info)).get("histogram_usec")
        before = 0
        counts = histograms[name] = dict[int, int]()
        for bound, total in _pairs(bounds):
            if bound.isdigit() and isinstance(total, int):
                counts[int(bound)] = total - before
                before = total
    return histograms


def _pairs(reply: Reply) -> Iterable[tuple[str, Reply]]:
    """Return the pairs of a map, which is a flat list in RESP2; none for other replies."""
    items = reply if isinstance(reply, list) else []
    keys = (
        key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in items
    )
    return list(zip(list(keys)[::2], items[1::2], strict=False))
