"""Order of servers in `top`, by a column."""

from collections.abc import Callable
from typing import NamedTuple

from fibclient.cli.measuring.polling import ServerStatus
from fibclient.cli.measuring.server_sample import SampleRates, ServerSample

__all__ = ["ORDERS", "TopOrder", "ordered"]

_KEYS: dict[str, Callable[[ServerSample, SampleRates], float]] = {
    "requests": lambda sample, rates: rates.requests_per_second,
    "output": lambda sample, rates: rates.bytes_per_second,
    "p50": lambda sample, rates: rates.p50_seconds or 0.0,
    "p99": lambda sample, rates: rates.p99_seconds or 0.0,
    "errors": lambda sample, rates: rates.errors_per_second,
    "clients": lambda sample, rates: sample.connected_clients,
    "busy": lambda sample, rates: sample.workers_busy,
    "memory": lambda sample, rates: sample.used_bytes,
}

ORDERS = ("given", "server", *_KEYS)
"""The names of the orders; `given` is that of the addresses on the command line."""


class TopOrder(NamedTuple):
    """An order of servers.

    Attributes:
        name: One of `ORDERS`. Numbers are sorted from the highest on.
        is_reversed: Whether it is the other way round.
    """

    name: str = "given"
    is_reversed: bool = False

    def __str__(self) -> str:
        if self == TopOrder():
            return self.name
        is_descending = (self.name in _KEYS) != self.is_reversed
        return f"{self.name} {'▼' if is_descending else '▲'}"

    def moved(self, steps: int) -> "TopOrder":
        """Return the order of a column further right, or left for negative steps."""
        return TopOrder(ORDERS[(ORDERS.index(self.name) + steps) % len(ORDERS)], self.is_reversed)

    def reversed(self) -> "TopOrder":
        """Return the opposite order."""
        return TopOrder(self.name, not self.is_reversed)


def ordered(statuses: list[ServerStatus], order: TopOrder) -> list[ServerStatus]:
    """Return the statuses in an order; those without rates, and then those down, are last."""
    statuses = statuses[:]
    key = _KEYS.get(order.name)
    if order.name == "server":
        statuses.sort(key=lambda status: str(status.server), reverse=order.is_reversed)
    elif key is None:
        statuses = statuses[::-1] if order.is_reversed else statuses
    else:
        known = [each for each in statuses if each.sample and each.rates]
        rest = [each for each in statuses if not (each.sample and each.rates)]
        rest.sort(key=lambda status: status.sample is None)
        known.sort(
            key=lambda each: key(each.sample, each.rates) if each.sample and each.rates else 0.0,
            reverse=not order.is_reversed,
        )
        statuses = known + rest
    return statuses
