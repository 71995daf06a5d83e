"""When a second server is asked for what the first has not begun to answer.

Hedged requests (Dean and Barroso, The Tail at Scale, 2013): a request that takes several times as
long as usual is sent to another server as well, and the first answer is taken. The silent server
costs a moment instead of a timeout, and servers get few requests twice: a retry budget bounds
them, and what is dear to compute is asked for only once.

This module decides; it waits for nobody.
"""

__all__ = ["patience_seconds"]

LEAST_SECONDS = 0.1
MOST_SECONDS = 0.5
"""The least spares servers that pause for a moment; beyond the most a caller notices."""

FACTOR = 3
"""How many times its usual latency a server may take: among servers that are well, few do."""


def patience_seconds(usual_seconds: float, cost_seconds: float) -> float:
    """Return how long to wait for the first byte before a second server is asked.

    Args:
        usual_seconds: the latency of the endpoint, 0 if it is not known.
        cost_seconds: what a worker needs for the request.
    """
    return min(MOST_SECONDS, max(LEAST_SECONDS, FACTOR * (usual_seconds + cost_seconds)))
