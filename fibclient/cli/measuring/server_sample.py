"""Readings of a server's statistics, and the rates between two samples."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fibclient.cli.measuring.latency import parse_histograms
from fibclient.connections.resp import Reply
from fibcommon.formats import FORMATS
from fibcommon.info import parse_fields, parse_info
from fibcommon.quantiles import quantile

__all__ = ["InfoFields", "SampleRates", "ServerSample", "info_fields", "sample_rates"]

OWN_COMMANDS = {"info", "latency"}
"""The commands that samples send; they are not counted."""


class InfoFields(dict[str, str]):
    """The fields of INFO by name."""

    def whole(self, name: str, default: int = 0) -> int:
        """Return a field as a whole number, or the default if it is missing or not a number."""
        value = self.get(name, "")
        return int(value) if value.isascii() and value.isdigit() else default


def info_fields(info_text: str) -> InfoFields:
    """Return the fields of all sections of an INFO text."""
    return InfoFields(
        (name, value)
        for section in parse_info(info_text).values()
        for name, value in section.items()
    )


@dataclass(frozen=True, slots=True)
class ServerSample:
    """The statistics of a server at one moment.

    Attributes:
        version: The server's version; empty if it is not a fibserver.
        uptime_seconds: The time since its start.
        process_id: The process id of its acceptor.
        calls: The number of requests answered, without those of samples.
        errors: The number of error replies.
        bytes_sent: The number of bytes sent to clients.
        latencies: The number of requests in each bucket of execution times, by its upper bound
            in microseconds, a power of two.
        connected_clients: The number of clients.
        waiting_clients: The number of clients that wait for workers.
        workers: The number of workers.
        workers_busy: The number of busy workers.
        worker_deaths: The number of workers that have died since the start.
        used_bytes: The total memory.
        shared_bytes: The shared part of it, mostly numbers.
        numbers_bytes: The memory of the computed numbers.
        memory_limit_bytes: The limit for `numbers_bytes`.
        elements: The number of resident elements by format, for formats that have any.
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
    numbers_bytes: int
    memory_limit_bytes: int
    elements: Mapping[str, int]

    @classmethod
    def of(cls, info_text: str, histograms: Reply) -> "ServerSample":
        """Return a sample.

        Args:
            info_text: The text of INFO ALL.
            histograms: The reply to LATENCY HISTOGRAM.
        """
        info = info_fields(info_text)
        latencies: Counter[int] = Counter()
        for name, counts in parse_histograms(histograms).items():
            if name not in OWN_COMMANDS:
                latencies.update(counts)
        fields = {name: InfoFields(parse_fields(info.get(name, ""))) for name in FORMATS}
        elements = {name: values.whole("elements") for name, values in fields.items()}
        return cls(
            version=info.get("fibserver_version", ""),
            uptime_seconds=info.whole("uptime_in_seconds"),
            process_id=info.whole("process_id"),
            calls=latencies.total(),
            errors=info.whole("total_error_replies"),
            bytes_sent=info.whole("total_net_output_bytes"),
            latencies=latencies,
            connected_clients=info.whole("connected_clients"),
            waiting_clients=info.whole("blocked_clients"),
            workers=info.whole("workers"),
            workers_busy=info.whole("workers_busy"),
            worker_deaths=info.whole("worker_deaths"),
            used_bytes=info.whole("used_memory_rss"),
            shared_bytes=info.whole("used_memory_shared"),
            numbers_bytes=info.whole("used_memory"),
            memory_limit_bytes=info.whole("maxmemory"),
            elements={name: count for name, count in elements.items() if count},
        )


@dataclass(frozen=True, slots=True)
class SampleRates:
    """The rates and latencies between two samples.

    Attributes:
        requests_per_second: Requests answered.
        errors_per_second: Error replies.
        bytes_per_second: Bytes sent.
        p50_seconds: The median execution time; None without requests.
        p99_seconds: The 99th percentile of the execution time; None without requests.
    """

    requests_per_second: float
    errors_per_second: float
    bytes_per_second: float
    p50_seconds: float | None
    p99_seconds: float | None


def sample_rates(before: ServerSample, after: ServerSample, seconds: float) -> SampleRates:
    """Return the rates between two samples of a server.

    If the server was restarted in between, only what it has done since then counts.

    Args:
        before: The earlier sample.
        after: The later sample.
        seconds: The time between them, > 0.
    """
    calls, errors, bytes_sent = before.calls, before.errors, before.bytes_sent
    latencies = before.latencies
    if _is_restarted(before, after):
        calls, errors, bytes_sent, latencies = 0, 0, 0, {}
    counts = {
        bound: count - latencies.get(bound, 0) for bound, count in sorted(after.latencies.items())
    }
    # The bucket with bound 8 µs covers 4 to 8 µs, the one with bound 1 µs starts at 0.
    buckets = [(bound // 2 / 1e6, bound / 1e6, count) for bound, count in counts.items()]
    has_requests = any(counts.values())
    return SampleRates(
        (after.calls - calls) / seconds,
        (after.errors - errors) / seconds,
        (after.bytes_sent - bytes_sent) / seconds,
        quantile(buckets, 0.5) if has_requests else None,
        quantile(buckets, 0.99) if has_requests else None,
    )


def _is_restarted(before: ServerSample, after: ServerSample) -> bool:
    return before.process_id != after.process_id or (
        # In a container, a restarted process often has the same PID.
        after.uptime_seconds < before.uptime_seconds
        or after.calls < before.calls
        or after.errors < before.errors
        or after.bytes_sent < before.bytes_sent
        or any(after.latencies.get(bound, 0) < count for bound, count in before.latencies.items())
    )
