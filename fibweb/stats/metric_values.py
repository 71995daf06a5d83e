"""Figures: what one process, or several together, have counted and measured.

A figure has a name and the values of its labels, so adding up processes is adding up figures. How
each is called and explained to others is `fibweb.resources.metrics`.
"""

import json
from typing import NamedTuple

__all__ = ["Key", "MetricValues", "Samples"]

Key = tuple[str, ...]
"""A figure's name, then the values of its labels."""

Samples = dict[Key, float]


class MetricValues(NamedTuple):
    """Numbers by name and labels.

    Attributes:
        counters: what only grows, over a process's end as well: its successor goes on counting.
        gauges: what there is now.
    """

    counters: Samples
    gauges: Samples

    def plus(self, other: "MetricValues") -> "MetricValues":
        """Return the figures of both together."""
        return MetricValues(*(_sum(*parts) for parts in zip(self, other, strict=True)))

    def encode(self) -> bytes:
        """Return them as bytes for `decode`."""
        return json.dumps(
            [[[*key, value] for key, value in each.items()] for each in self]
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "MetricValues":
        """Return what was encoded; nothing is no figures."""
        if not data:
            return cls({}, {})
        return cls(*({tuple(key): value for *key, value in part} for part in json.loads(data)))


def _sum(some: Samples, others: Samples) -> Samples:
    return some | {key: some.get(key, 0) + value for key, value in others.items()}
