"""Values of counters and gauges, of one process or summed over several.

The key of a value is its name and its label values, so the values of processes can be summed by
key. `fibweb.resources.metrics_text` maps them to Prometheus metrics.
"""

import json
from typing import NamedTuple

__all__ = ["Key", "MetricValues", "Samples"]

Key = tuple[str, ...]
"""The name of a value, then its label values."""

Samples = dict[Key, float]


class MetricValues(NamedTuple):
    """Counters and gauges.

    Attributes:
        counters: Values that only grow. The successor of a process continues its counters.
        gauges: Current values.
    """

    counters: Samples
    gauges: Samples

    def plus(self, other: "MetricValues") -> "MetricValues":
        """Return the sums of both, key by key."""
        return MetricValues(*(_sum(*parts) for parts in zip(self, other, strict=True)))

    def encode(self) -> bytes:
        """Return the values as bytes for `decode`."""
        return json.dumps(
            [[[*key, value] for key, value in samples.items()] for samples in self]
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "MetricValues":
        """Return the encoded values; no bytes mean no values."""
        if not data:
            return cls({}, {})
        return cls(*({tuple(key): value for *key, value in part} for part in json.loads(data)))


def _sum(some: Samples, others: Samples) -> Samples:
    return some | {key: some.get(key, 0) + value for key, value in others.items()}
