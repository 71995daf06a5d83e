"""Cases with two sides, measured in turns, and the table of their medians and ratios.

The sides of a case run one right after the other, and take turns at going first, so that a slow
minute of the machine hits both alike. This module starts nothing itself: a case says how a run of
each side is made.

Nothing here judges: a missed target is marked.
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

__all__ = ["Case", "Run", "machine", "measure", "print_table"]


class Run(NamedTuple):
    """What one run measured: a rate, and for requests their median latency."""

    rate: float
    p50_ms: float | None = None


@dataclass
class Case:
    """One line of the table: two things to measure side by side, and what they gave.

    Attributes:
        name: what the table and `--only` call it.
        unit: of the rates.
        target: the least ratio of ours to the other that will do; None if any will.
        run_ours: measures ours once.
        run_other: measures the yardstick once.
        run_before: measures an earlier checkout once, if there is one to compare with.
        ours: one run a round.
        other: likewise.
        before: likewise.
    """

    name: str
    unit: str
    target: float | None
    run_ours: Callable[[], Run]
    run_other: Callable[[], Run]
    run_before: Callable[[], Run] | None = None
    ours: list[Run] = field(default_factory=list)
    other: list[Run] = field(default_factory=list)
    before: list[Run] = field(default_factory=list)

    def measure(self, other_first: bool) -> None:
        """Run all sides once."""
        sides = [(self.ours, self.run_ours), (self.other, self.run_other)]
        if self.run_before:
            sides.append((self.before, self.run_before))
        for runs, run in reversed(sides) if other_first else sides:
            runs.append(run())

    def summary(self) -> dict[str, Any]:
        """Return medians, ratios and the raw figures."""
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


def _median_ratio(runs: list[Run], others: list[Run]) -> float | None:
    if not others:
        return None
    return median(ours.rate / theirs.rate for ours, theirs in zip(runs, others, strict=True))


def _median_p50(runs: Iterable[Run]) -> float | None:
    known = [run.p50_ms for run in runs if run.p50_ms is not None]
    return median(known) if known else None


def measure(cases: list[Case], rounds: int, label: str) -> None:
    """Run every case once a round, with a progress bar."""
    iterations = [(number, case) for number in range(rounds) for case in cases]
    with click.progressbar(iterations, label=label, file=sys.stderr) as progress:
        for number, case in progress:
            case.measure(other_first=number % 2 == 1)


def machine() -> dict[str, str]:
    """Return what figures depend on: the machine, and the versions of what runs on it."""
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
    """Print the summaries of cases.

    Args:
        rows: a summary each.
        ours: what to call our side.
        other: what to call the yardstick.
    """
    layout = "{:<23}{:>12}{:>12} {:<11}{:>6}{:>10}{:>8}{:>8}{:>10}{:>10}  {}"
    names = ("case", ours, other, "", "ratio", "by round", "target", "before")
    click.echo(layout.format(*names, "p50 ms", "other", "").rstrip())
    for row in rows:
        rates = (f"{row[side]:,.0f}" for side in ("ours", "other"))
        shown = ("ratio", "median_round_ratio", "target", "ratio_to_before")
        ratios = ("" if row[each] is None else f"{row[each]:.2f}" for each in shown)
        p50s = (row["ours_p50_ms"], row["other_p50_ms"])
        latencies = ("" if p50 is None else f"{p50:.3f}" for p50 in p50s)
        mark = "" if row["is_met"] else "missed"
        line = layout.format(row["case"], *rates, row["unit"], *ratios, *latencies, mark)
        click.echo(line.rstrip())
