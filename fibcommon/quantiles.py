"""Quantiles of values that were counted in the buckets of a histogram."""

from collections.abc import Iterable

__all__ = ["quantile"]


def quantile(buckets: Iterable[tuple[float, float, int]], share: float) -> float:
    """Return the value that a share of all values does not exceed.

    Values are assumed to be distributed evenly within a bucket.

    Args:
        buckets: The lower bound, upper bound and count of each bucket, in ascending order.
        share: 0 to 1.

    Returns:
        The value; 0 if there are none.
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
