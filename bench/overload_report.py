"""The report of `bench/overload.py`: details, a table in Markdown, and the targets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
from observation import MetricValues

__all__ = ["Observation", "Row", "as_json", "print_details", "print_table", "print_targets"]

MIB = 1024**2

CACHE_MIB = 64
"""fibweb's `cache_bytes`."""

PENDING_MIB = 64
"""All answers that fibweb has under way."""

FIBWEB_SLACK_MIB = 40
OUTPUT_MIB = 64
"""All output that the acceptor has under way."""

ACCEPTOR_SLACK_MIB = 16


@dataclass(frozen=True)
class Observation:
    """What was observed of a service during one abuse.

    Attributes:
        figures: of each kind of well-behaved client.
        growth_bytes: of memory at most, for each server.
        recovery_seconds: until new numbers were quick again.
        log_bytes_per_second: written meanwhile.
        ends: how many requests or connections of each abusing process came to which end.
    """

    figures: dict[str, MetricValues]
    growth_bytes: dict[str, int]
    recovery_seconds: float
    log_bytes_per_second: float
    ends: list[dict[str, int]]


class Row(NamedTuple):
    """One abuse: what it did to our services, and to the peers it was done to."""

    name: str
    title: str
    ours: Observation
    peers: dict[str, Observation]


def _time(seconds: float) -> str:
    """Return milliseconds in few digits; long times with their unit."""
    if math.isinf(seconds):
        return "never"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1 if seconds >= 0.001 else 2}f}"


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / MIB:.0f} MiB"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _failures(figures: MetricValues) -> str:
    """Return the shares of what failed, by kind; empty if nothing did."""
    total = figures.outcomes.total()
    failed = ((name, count) for name, count in figures.outcomes.items() if name != "ok")
    return "".join(f", {_percent(count / total)} {name}" for name, count in sorted(failed))


def _cell(observed: Observation, kind: str, *percentiles: str) -> str:
    """Return the named percentiles of a kind, its worst, and its failures."""
    figures = observed.figures.get(kind)
    if figures is None:
        return ""
    times = (getattr(figures, name) for name in (*percentiles, "worst"))
    return " / ".join(map(_time, times)) + _failures(figures)


def _peer_cells(row: Row) -> tuple[str, str, str]:
    answers, connects, growths = [], [], []
    for name, observed in row.peers.items():
        kinds = ("cached", "connect-http") if name == "nginx" else ("ping", "connect-resp")
        answers.append(f"{name} {_cell(observed, kinds[0], 'p50', 'p99')}")
        connects.append(_cell(observed, kinds[1], "p99"))
        growths.append(f"{observed.growth_bytes[name] / MIB:.0f}")
    return "; ".join(answers), "; ".join(connects), "; ".join(growths)


def print_details(row: Row) -> None:
    """Print all figures of one row, and what became of those who misbehave."""
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


def print_table(rows: Sequence[Row]) -> None:
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


class ResolvedAddress(NamedTuple):
    """A bound that every row has to keep.

    Attributes:
        text: what it asks for, with the bound.
        value: returns what is bounded.
        bound: the highest value that will do.
        show: returns a value as text.
    """

    text: str
    value: Callable[[Observation], float]
    bound: float
    show: Callable[[float], str] = _time


FIBWEB_MIB = CACHE_MIB + PENDING_MIB + FIBWEB_SLACK_MIB
ACCEPTOR_MIB = OUTPUT_MIB + ACCEPTOR_SLACK_MIB

TARGETS = (
    ResolvedAddress("cached answers, p99 ≤ 20 ms", lambda o: o.figures["cached"].p99, 0.020),
    ResolvedAddress("new small numbers, p99 ≤ 250 ms", lambda o: o.figures["new"].p99, 0.250),
    ResolvedAddress(
        "new small numbers, 503 or failed < 1 %",
        lambda o: o.figures["new"].failed_share(),
        0.00999,
        _percent,
    ),
    ResolvedAddress("FIB.RANGE, p99 ≤ 250 ms", lambda o: o.figures["range"].p99, 0.250),
    ResolvedAddress(
        "FIB.RANGE, BUSY or failed < 1 %",
        lambda o: o.figures["range"].failed_share(),
        0.00999,
        _percent,
    ),
    ResolvedAddress("/readyz, p99.9 ≤ 250 ms", lambda o: o.figures["readyz"].p999, 0.250),
    ResolvedAddress("PING, p99.9 ≤ 250 ms", lambda o: o.figures["ping"].p999, 0.250),
    ResolvedAddress("recovery ≤ 1 s", lambda o: o.recovery_seconds, 1.0),
    ResolvedAddress(
        f"growth of fibweb ≤ {FIBWEB_MIB} MiB",
        lambda o: o.growth_bytes["fibweb"],
        FIBWEB_MIB * MIB,
        _mib,
    ),
    ResolvedAddress(
        f"growth of the acceptor ≤ {ACCEPTOR_MIB} MiB",
        lambda o: o.growth_bytes["acceptor"],
        ACCEPTOR_MIB * MIB,
        _mib,
    ),
)


def print_targets(rows: Sequence[Row]) -> None:
    """Print which targets are met, and where the others are missed."""
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


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as they are written to a report, infinite times as `Infinity`."""

    def plain(observed: Observation) -> dict[str, Any]:
        figures = {kind: each._asdict() for kind, each in observed.figures.items()}
        return {**observed.__dict__, "figures": figures}

    return [
        {"abuse": row.name, "ours": plain(row.ours)}
        | {name: plain(observed) for name, observed in row.peers.items()}
        for row in rows
    ]
