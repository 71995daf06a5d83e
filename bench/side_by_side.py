"""Comparisons of two sides that are measured in turn, and the table of their medians and ratios.

The sides of a comparison run one right after the other, in alternating order, so that a slow
minute of the machine affects both. This module starts no servers: a comparison has a function that
runs each side.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click

__all__ = ["Comparison", "Measurement", "machine", "measure", "print_table"]


class Measurement(NamedTuple):
    """Result of one run: a rate, and for requests the median latency in milliseconds."""

    rate: float
    p50_ms: float | None = None


@dataclass
class Comparison:
    """One row of the table: the functions that run its sides, and their results.

    Attributes:
        name: Name in the table and for `--only`.
        unit: Unit of the rates.
        target: Lowest ratio of ours to the baseline that is good enough; None: no target.
        run_ours: Measures our side once.
        run_other: Measures the baseline once.
        run_before: Measures an earlier checkout once; None: there is none to compare with.
        ours: Results of our side, one per round.
        other: Results of the baseline, one per round.
        before: Results of the earlier checkout, one per round.
    """

    name: str
    unit: str
    target: float | None
    run_ours: Callable[[], Measurement]
    run_other: Callable[[], Measurement]
    run_before: Callable[[], Measurement] | None = None
    ours: list[Measurement] = field(default_factory=list)
    other: list[Measurement] = field(default_factory=list)
    before: list[Measurement] = field(default_factory=list)

    def measure(self, other_first: bool) -> None:
        """Run all sides once."""
        sides = [(self.ours, self.run_ours), (self.other, self.run_other)]
        if self.run_before:
            sides.append((self.before, self.run_before))
        for runs, run in reversed(sides) if other_first else sides:
            runs.append(run())

    def summary(self) -> dict[str, Any]:
        """Return the medians, the ratios and the raw results."""
        ours, other = (median(run.rate for run in runs) for runs in (self.ours, self.other))
        return {
            "case": self.name,
            "unit": self.unit,
            "ours": ours,
            "other": other,
            "ratio": ours / other,
            "median_round_ratio": _median_ratio(self.ours, self.other),
            "ratio_to_before": _median_ratio(self.ours, self.before),
            "target": self.target,
            "is_met": self.target is None or ours / other >= self.target,
            "ours_p50_ms": _median_p50(self.ours),
            "other_p50_ms": _median_p50(self.other),
            "ours_runs": [run._asdict() for run in self.ours],
            "other_runs": [run._asdict() for run in self.other],
            "before_runs": [run._asdict() for run in self.before],
        }


def _median_ratio(runs: list[Measurement], others: list[Measurement]) -> float | None:
    if not others:
        return None
    return median(ours.rate / theirs.rate for ours, theirs in zip(runs, others, strict=True))


def _median_p50(runs: Iterable[Measurement]) -> float | None:
    known = [run.p50_ms for run in runs if run.p50_ms is not None]
    return median(known) if known else None


def measure(cases: list[Comparison], rounds: int, label: str) -> None:
    """Run every case once per round, with a progress bar."""
    iterations = [(number, case) for number in range(rounds) for case in cases]
    with click.progressbar(iterations, label=label, file=sys.stderr) as progress:
        for number, case in progress:
            case.measure(other_first=number % 2 == 1)


def machine() -> dict[str, str]:
    """Return the facts that the figures depend on: the machine, and versions of programs."""
    models = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    version = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    found = re.search(r"v=(\S+)", version)
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": models[0] if models else "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis-server": found[1] if found else "unknown",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def print_table(rows: list[dict[str, Any]], ours: str, other: str) -> None:
    """Print the summaries of comparisons.

    Args:
        rows: Summaries.
        ours: Name of our side.
        other: Name of the baseline.
    """
    layout = "{:<23}{:>12}{:>12} {:<11}{:>6}{:>10}{:>8}{:>8}{:>10}{:>10}  {}"
    names = ("case", ours, other, "", "ratio", "by round", "target", "before")
    click.echo(layout.format(*names, "p50 ms", "other", "").rstrip())
    for row in rows:
        rates = (f"{row[side]:,.0f}" for side in ("ours", "other"))
        columns = ("ratio", "median_round_ratio", "target", "ratio_to_before")
        ratios = ("" if row[column] is None else f"{row[column]:.2f}" for column in columns)
        p50s = (row["ours_p50_ms"], row["other_p50_ms"])
        latencies = ("" if p50 is None else f"{p50:.3f}" for p50 in p50s)
        mark = "" if row["is_met"] else "missed"
        line = layout.format(row["case"], *rates, row["unit"], *ratios, *latencies, mark)
        click.echo(line.rstrip())
