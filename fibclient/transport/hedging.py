"""Delay before a request is hedged, that is, also sent to a second server.

Hedged requests (Dean and Barroso, The Tail at Scale, 2013): a request that takes several times as
long as usual is also sent to another server, and the first reply is used. A silent server then
costs a moment instead of a timeout. Few requests are sent twice: the retry budget bounds them, and
those that are expensive to compute are never hedged.
"""

__all__ = ["hedge_delay_seconds"]

MIN_SECONDS = 0.1
MAX_SECONDS = 0.5
"""The minimum spares servers that pause briefly; a caller would notice more than the maximum."""

FACTOR = 3
"""Multiple of its usual latency that a server may take; healthy servers seldom take as much."""


def hedge_delay_seconds(usual_seconds: float, cost_seconds: float) -> float:
    """Return how long to wait for the first byte before hedging.

    Args:
        usual_seconds: Usual latency of the endpoint; 0 if unknown.
        cost_seconds: Predicted computing time of a worker.
    """
    return min(MAX_SECONDS, max(MIN_SECONDS, FACTOR * (usual_seconds + cost_seconds)))
