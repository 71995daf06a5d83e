"""Report of `bench/overload.py`: details, a table in Markdown, and the targets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
from observation import LatencySummary

__all__ = ["AbuseRow", "Observation", "as_json", "print_details", "print_table", "print_targets"]

MIB = 1024**2

CACHE_MIB = 64
"""Default of fibweb's `cache_bytes`."""

PENDING_MIB = 64
"""Bound of all pending responses of fibweb."""

FIBWEB_SLACK_MIB = 40
OUTPUT_MIB = 64
"""Bound of all pending output of the acceptor."""

ACCEPTOR_SLACK_MIB = 16


@dataclass(frozen=True)
class Observation:
    """Observation of servers during one abuse.

    Attributes:
        figures: Latencies by kind of well-behaved request.
        growth_bytes: Largest growth of memory, by server.
        recovery_seconds: Time after the abuse until new numbers were quick again.
        log_bytes_per_second: Bytes logged per second of the abuse.
        ends: For each part of the abuse, the number of requests or connections by outcome.
    """

    figures: dict[str, LatencySummary]
    growth_bytes: dict[str, int]
    recovery_seconds: float
    log_bytes_per_second: float
    ends: list[dict[str, int]]


class AbuseRow(NamedTuple):
    """Observations of one abuse: of our services, and of the peers."""

    name: str
    title: str
    ours: Observation
    peers: dict[str, Observation]


def _time(seconds: float) -> str:
    """Format a time: milliseconds without a unit; from one second on, seconds with theirs."""
    if math.isinf(seconds):
        return "never"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1 if seconds >= 0.001 else 2}f}"


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / MIB:.0f} MiB"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _failures(figures: LatencySummary) -> str:
    """Format the share of each failure; "" if all requests succeeded."""
    total = figures.outcomes.total()
    failed = ((name, count) for name, count in figures.outcomes.items() if name != "ok")
    return "".join(f", {_percent(count / total)} {name}" for name, count in sorted(failed))


def _cell(observed: Observation, kind: str, *percentiles: str) -> str:
    """Format the named percentiles of a kind, its longest time, and its failures."""
    figures = observed.figures.get(kind)
    if figures is None:
        return ""
    times = (getattr(figures, name) for name in (*percentiles, "worst"))
    return " / ".join(map(_time, times)) + _failures(figures)


def _peer_cells(row: AbuseRow) -> tuple[str, str, str]:
    replies, connects, growths = [], [], []
    for name, observed in row.peers.items():
        kinds = ("cached", "connect-http") if name == "nginx" else ("ping", "connect-resp")
        replies.append(f"{name} {_cell(observed, kinds[0], 'p50', 'p99')}")
        connects.append(_cell(observed, kinds[1], "p99"))
        growths.append(f"{observed.growth_bytes[name] / MIB:.0f}")
    return "; ".join(replies), "; ".join(connects), "; ".join(growths)


def print_details(row: AbuseRow) -> None:
    """Print all figures of one row, and the outcomes of the abuse."""
    layout = "{:<9}{:<14}{:>8}{:>10}{:>10}{:>10}{:>10}  {}"
    click.echo(f"\n{row.name}: {row.title}")
    click.echo(layout.format("", "ms", "count", "p50", "p99", "p99.9", "worst", "failures"))
    for service, observed in {"ours": row.ours, **row.peers}.items():
        for kind, figures in observed.figures.items():
            times = map(_time, figures[:4])
            failures = _failures(figures).removeprefix(", ")
            count = figures.outcomes.total()
            click.echo(layout.format(service, kind, count, *times, failures).rstrip())
        growth = (f"{name} +{_mib(size)}" for name, size in observed.growth_bytes.items())
        log = f"log {observed.log_bytes_per_second:,.0f} bytes/s"
        recovery = f"recovery {_time(observed.recovery_seconds)}"
        click.echo(f"{service:<9}{', '.join((*growth, log, recovery))}")
        for ends in observed.ends:
            counts = ", ".join(f"{name} {count:,}" for name, count in sorted(ends.items()))
            click.echo(f"{service:<9}the abuse: {counts or 'nothing'}")


def print_table(rows: Sequence[AbuseRow]) -> None:
    """Print the table, in Markdown."""
    names = (
        "meanwhile",
        "cached: p50 / p99 / worst",
        "new small number",
        "`FIB.RANGE`",
        "`/readyz`: p99.9 / worst",
        "PING: p99.9 / worst",
        "new connection, fibweb: p99 / worst",
        "fibserver",
        "memory of fibweb, acceptor, MiB",
        "recovery",
        "machine: p99 / worst",
        "peer: p50 / p99 / worst",
        "new connection: p99 / worst",
        "memory, MiB",
    )
    _print_line(names)
    click.echo("|---" * len(names) + "|")
    for row in rows:
        ours = row.ours
        _print_line(
            (
                row.title,
                *(_cell(ours, kind, "p50", "p99") for kind in ("cached", "new", "range")),
                *(_cell(ours, kind, "p999") for kind in ("readyz", "ping")),
                *(_cell(ours, kind, "p99") for kind in ("connect-http", "connect-resp")),
                ", ".join(f"{size / MIB:.0f}" for size in ours.growth_bytes.values()),
                _time(ours.recovery_seconds),
                _cell(ours, "nothing", "p99"),
                *_peer_cells(row),
            )
        )


def _print_line(cells: Sequence[str]) -> None:
    click.echo(f"| {' | '.join(cells)} |")


class Target(NamedTuple):
    """A bound for a figure of every row.

    Attributes:
        text: Description, with the bound.
        value: Returns the bounded figure.
        bound: Highest permitted value.
        show: Formats a value.
    """

    text: str
    value: Callable[[Observation], float]
    bound: float
    show: Callable[[float], str] = _time


FIBWEB_MIB = CACHE_MIB + PENDING_MIB + FIBWEB_SLACK_MIB
ACCEPTOR_MIB = OUTPUT_MIB + ACCEPTOR_SLACK_MIB

TARGETS = (
    Target("cached responses, p99 ≤ 20 ms", lambda o: o.figures["cached"].p99, 0.020),
    Target("new small numbers, p99 ≤ 250 ms", lambda o: o.figures["new"].p99, 0.250),
    Target(
        "new small numbers, 503 or failed < 1 %",
        lambda o: o.figures["new"].failed_share(),
        0.00999,
        _percent,
    ),
    Target("FIB.RANGE, p99 ≤ 250 ms", lambda o: o.figures["range"].p99, 0.250),
    Target(
        "FIB.RANGE, BUSY or failed < 1 %",
        lambda o: o.figures["range"].failed_share(),
        0.00999,
        _percent,
    ),
    Target("/readyz, p99.9 ≤ 250 ms", lambda o: o.figures["readyz"].p999, 0.250),
    Target("PING, p99.9 ≤ 250 ms", lambda o: o.figures["ping"].p999, 0.250),
    Target("recovery ≤ 1 s", lambda o: o.recovery_seconds, 1.0),
    Target(
        f"growth of fibweb ≤ {FIBWEB_MIB} MiB",
        lambda o: o.growth_bytes["fibweb"],
        FIBWEB_MIB * MIB,
        _mib,
    ),
    Target(
        f"growth of the acceptor ≤ {ACCEPTOR_MIB} MiB",
        lambda o: o.growth_bytes["acceptor"],
        ACCEPTOR_MIB * MIB,
        _mib,
    ),
)


def print_targets(rows: Sequence[AbuseRow]) -> None:
    """Print which targets are met, and in which rows the others are missed."""
    click.echo("\nTargets:\n")
    for target in TARGETS:
        values = {row.name: target.value(row.ours) for row in rows}
        missed = [
            f"{name} {target.show(value)}"
            for name, value in values.items()
            if value > target.bound
        ]
        if missed:
            click.echo(f"- missed: {target.text}: {', '.join(missed)}")
        else:
            name = max(values, key=lambda name: values[name])
            click.echo(f"- met: {target.text}; at most {target.show(values[name])} ({name})")


def as_json(rows: Sequence[AbuseRow]) -> list[dict[str, Any]]:
    """Return the rows for a JSON report; infinite times become `Infinity`."""

    def plain(observed: Observation) -> dict[str, Any]:
        figures = {kind: summary._asdict() for kind, summary in observed.figures.items()}
        return {**observed.__dict__, "figures": figures}

    return [
        {"abuse": row.name, "ours": plain(row.ours)}
        | {name: plain(observed) for name, observed in row.peers.items()}
        for row in rows
    ]
