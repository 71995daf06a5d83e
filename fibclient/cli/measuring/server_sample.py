"""Readings of a server: its figures at a moment, and what happened between two moments."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fibclient.cli.measuring.latency import parse_histograms, quantile
from fibclient.connections.resp import Reply
from fibcommon.formats import FORMATS
from fibcommon.info import parse_fields, parse_information

__all__ = ["Facts", "Rates", "Reading", "facts_of", "rates_between"]

OWN_COMMANDS = {"info", "latency"}
"""What a reading itself asks; it is not to see itself."""


class Facts(dict[str, str]):
    """What INFO tells, by name."""

    def whole(self, name: str, default: int = 0) -> int:
        """Return a whole number; the default if there is none of this name."""
        value = self.get(name, "")
        return int(value) if value.isascii() and value.isdigit() else default


def facts_of(information: str) -> Facts:
    """Return the facts in a text of INFO, whatever section they stand in."""
    return Facts(
        (name, value)
        for section in parse_information(information).values()
        for name, value in section.items()
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of a server at a moment.

    Attributes:
        version: of the server.
        uptime_seconds: since its start.
        process_id: of its acceptor.
        calls: requests it has answered, those for readings aside.
        errors: error replies.
        bytes_sent: to clients.
        latencies: how many requests took how long: by upper bounds in microseconds, which are
            powers of two.
        connected_clients: how many there are.
        waiting_clients: how many of them wait for workers.
        workers: how many there are.
        workers_busy: how many of them do something.
        worker_deaths: since the start.
        used_bytes: memory, all in all.
        shared_bytes: of that, what is shared: numbers, mostly.
        resident_bytes: what the numbers that are kept take.
        memory_limit_bytes: what they may take.
        elements: resident ones by format; only formats that have any.
    """

    version: str
    uptime_seconds: int
    process_id: int
    calls: int
    errors: int
    bytes_sent: int
    latencies: Mapping[int, int]
    connected_clients: int
    waiting_clients: int
    workers: int
    workers_busy: int
    worker_deaths: int
    used_bytes: int
    shared_bytes: int
    resident_bytes: int
    memory_limit_bytes: int
    elements: Mapping[str, int]

    @classmethod
    def of(cls, information: str, histograms: Reply) -> "Reading":
        """Return a reading.

        Args:
            information: what INFO ALL was answered with.
            histograms: what LATENCY HISTOGRAM was answered with.
        """
        facts = facts_of(information)
        latencies: Counter[int] = Counter()
        for name, counts in parse_histograms(histograms).items():
            if name not in OWN_COMMANDS:
                latencies.update(counts)
        fields = {name: Facts(parse_fields(facts.get(name, ""))) for name in FORMATS}
        elements = {name: each.whole("elements") for name, each in fields.items()}
        return cls(
            version=facts.get("fibserver_version", ""),
            uptime_seconds=facts.whole("uptime_in_seconds"),
            process_id=facts.whole("process_id"),
            calls=latencies.total(),
            errors=facts.whole("total_error_replies"),
            bytes_sent=facts.whole("total_net_output_bytes"),
            latencies=latencies,
            connected_clients=facts.whole("connected_clients"),
            waiting_clients=facts.whole("blocked_clients"),
            workers=facts.whole("workers"),
            workers_busy=facts.whole("workers_busy"),
            worker_deaths=facts.whole("worker_deaths"),
            used_bytes=facts.whole("used_memory_rss"),
            shared_bytes=facts.whole("used_memory_shared"),
            resident_bytes=facts.whole("resident_bytes"),
            memory_limit_bytes=facts.whole("maxmemory"),
            elements={name: count for name, count in elements.items() if count},
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two readings.

    Attributes:
        requests_per_second: answered.
        errors_per_second: error replies.
        bytes_per_second: sent.
        p50_seconds: the median latency; None if there were no requests.
        p99_seconds: what 99 % of the requests did not exceed, likewise.
    """

    requests_per_second: float
    errors_per_second: float
    bytes_per_second: float
    p50_seconds: float | None
    p99_seconds: float | None


def rates_between(before: Reading, after: Reading, seconds: float) -> Rates:
    """Return what happened between two readings of a server.

    If it was restarted meanwhile, that is what happened since, at least.

    Args:
        before: the earlier reading.
        after: the later one.
        seconds: between them, > 0.
    """
    calls, errors, bytes_sent = before.calls, before.errors, before.bytes_sent
    latencies = before.latencies
    if _is_restarted(before, after):
        calls, errors, bytes_sent, latencies = 0, 0, 0, {}
    counts = {
        bound: count - latencies.get(bound, 0) for bound, count in sorted(after.latencies.items())
    }
    # Bucket by bucket: a bound of 8 µs stands for 4 to 8, that of 1 µs for all below.
    buckets = [(bound // 2 / 1e6, bound / 1e6, count) for bound, count in counts.items()]
    has_requests = any(counts.values())
    return Rates(
        (after.calls - calls) / seconds,
        (after.errors - errors) / seconds,
        (after.bytes_sent - bytes_sent) / seconds,
        quantile(buckets, 0.5) if has_requests else None,
        quantile(buckets, 0.99) if has_requests else None,
    )


def _is_restarted(before: Reading, after: Reading) -> bool:
    return before.process_id != after.process_id or (
        # A process of a container has the number of the one before.
        after.uptime_seconds < before.uptime_seconds
        or after.calls < before.calls
        or after.errors < before.errors
        or after.bytes_sent < before.bytes_sent
        or any(after.latencies.get(bound, 0) < count for bound, count in before.latencies.items())
    )
