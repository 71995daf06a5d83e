"""Side by side: fibserver against redis-server, and a cold fill against bare arithmetic.

A redis-server that holds the very same bytes is the yardstick for what is ready: redis-benchmark
asks both for them. One thread that does the same additions in `decimal`, times the number of
workers, is the yardstick for what must be computed first. The two sides of a pair run one
right after the other, and take turns at going first, so that a slow minute of the machine
hits both alike.

Nothing here judges: a missed target is marked, and the exit code is 0.
"""

import csv
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TextIO

import click
from cold_fill import COLD, EXACT, fill, run_additions
from servers import ROOT, client, fibserver, redis_server

__all__ = ["main"]

RUN_SECONDS = 120
"""Far above anything seen: reaching it is a failure, not a slow machine."""

FIRST = (10, 100, 1000, 10_000)
DIFFERENT = 1000
"""How many different n the runs with different arguments draw from."""

QUICK_SHARE = 20


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
        target: the least ratio of fibserver to the other that will do.
        run_fib: measures fibserver once.
        run_other: measures the yardstick once.
        run_before: measures an earlier fibserver once, if there is one to compare with.
        fib: one run a round.
        other: likewise.
        before: likewise.
    """

    name: str
    unit: str
    target: float
    run_fib: Callable[[], Run]
    run_other: Callable[[], Run]
    run_before: Callable[[], Run] | None = None
    fib: list[Run] = field(default_factory=list)
    other: list[Run] = field(default_factory=list)
    before: list[Run] = field(default_factory=list)

    def measure(self, other_first: bool) -> None:
        """Run all sides once."""
        sides = [(self.fib, self.run_fib), (self.other, self.run_other)]
        if self.run_before:
            sides.append((self.before, self.run_before))
        for runs, run in reversed(sides) if other_first else sides:
            runs.append(run())

    def summary(self) -> dict[str, Any]:
        """Return medians, ratios and the raw figures."""
        fib, other = (median(run.rate for run in runs) for runs in (self.fib, self.other))
        pairs = zip(self.fib, self.other, strict=True)
        return {
            "case": self.name,
            "unit": self.unit,
            "fibserver": fib,
            "other": other,
            "ratio": fib / other,
            "median_round_ratio": median(ours.rate / theirs.rate for ours, theirs in pairs),
            "ratio_to_before": _median_ratio(self.fib, self.before),
            "target": self.target,
            "is_met": fib / other >= self.target,
            "fibserver_p50_ms": _median_p50(self.fib),
            "other_p50_ms": _median_p50(self.other),
            "fibserver_runs": [run._asdict() for run in self.fib],
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


def _elements(count: int) -> Iterator[bytes]:
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for _ in range(count):
            yield f'"{current}"'.encode()
            current, following = following, current + following


def _copy_slices(fib_port: int, redis_port: int) -> None:
    """Give redis the slices that fibserver serves, each checked against plain additions."""
    elements = list(_elements(max(FIRST)))
    keys = {f"f:{n}": n for n in FIRST} | {f"f:{n:012d}": n for n in range(DIFFERENT)}
    with client(fib_port) as fib, client(redis_port) as other:
        for key, n in keys.items():
            value = fib.execute_command("FIB.FIRST", n, "FORMAT", "json")
            if value != b",".join(elements[:n]):
                raise click.ClickException(f"fibserver answers FIB.FIRST {n} wrongly")
            other.set(key, value)


def _redis_benchmark(port: int, options: list[str], command: list[str]) -> Run:
    finished = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-q", "--csv", *options, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    rows = list(csv.DictReader(finished.stdout.splitlines()))
    if finished.returncode or len(rows) != 1 or "Error" in finished.stderr:
        raise click.ClickException(f"{finished.args}: {finished.stdout}{finished.stderr}")
    return Run(float(rows[0]["rps"]), float(rows[0]["p50_latency_ms"]))


def _request_cases(
    fib_port: int, redis_port: int, before_port: int | None, share: int
) -> Iterator[Case]:
    """Yield the cases whose answers are ready; each run makes 1/share of its requests."""

    def case(n: str, target: float, requests: int, *more: str) -> Case:
        options = ["-c", "50", "-n", str(max(requests // share, 50)), *more]
        words = ["first", n] if n.isdecimal() else ["different"]
        name = " ".join(words + (["-P 16"] if "-P" in more else []))
        command = ["FIB.FIRST", n, "FORMAT", "json"]
        fib = partial(_redis_benchmark, fib_port, options, command)
        other = partial(_redis_benchmark, redis_port, options, ["GET", f"f:{n}"])
        before = partial(_redis_benchmark, before_port, options, command) if before_port else None
        return Case(name, "requests/s", target, fib, other, before)

    yield case("10", 0.95, 100_000)
    yield case("100", 0.95, 100_000)
    yield case("1000", 0.95, 20_000)
    yield case("10000", 1.15, 600)
    yield case("10", 1.0, 1_000_000, "-P", "16")
    yield case("100", 1.0, 500_000, "-P", "16")
    yield case("__rand_int__", 0.8, 50_000, "-r", str(DIFFERENT))
    yield case("__rand_int__", 0.35, 100_000, "-r", str(DIFFERENT), "-P", "16")


def _cold_cases(workers: int, before: Path | None) -> Iterator[Case]:
    """Yield the cases that start from an empty server, in megabytes of the first numbers."""
    _, size_bytes = run_additions()

    def cold(checkout: Path) -> Run:
        request = b"FIB.FIRST %d FORMAT json\r\n" % COLD
        return Run(size_bytes / 1e6 / fill(request, size_bytes, checkout))

    def bare() -> Run:
        return Run(workers * size_bytes / 1e6 / run_additions().seconds)

    run_before = partial(cold, before) if before else None
    yield Case("cold fill", "MB/s", 0.8, partial(cold, ROOT), bare, run_before)


def _machine(workers: int) -> dict[str, str]:
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
        "redis": found[1] if found else "unknown",
        "workers": str(workers),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _print_table(machine: Mapping[str, str], rows: list[dict[str, Any]], rounds: int) -> None:
    click.echo(", ".join(f"{name} {value}" for name, value in machine.items()))
    click.echo(
        f"Medians of {rounds} rounds. Other: redis-server, or for a cold fill one thread of "
        f"decimal × {machine['workers']}.\nRatio: of the medians; by round: the median of the "
        "ratios of each round, likewise to the earlier fibserver. The ratio must reach the "
        "target.\n"
    )
    layout = "{:<23}{:>12}{:>12} {:<11}{:>6}{:>10}{:>8}{:>8}{:>10}{:>10}  {}"
    names = ("case", "fibserver", "other", "", "ratio", "by round", "target", "before")
    click.echo(layout.format(*names, "p50 ms", "other", "").rstrip())
    for row in rows:
        rates = (f"{row[side]:,.0f}" for side in ("fibserver", "other"))
        shown = ("ratio", "median_round_ratio", "target", "ratio_to_before")
        ratios = ("" if row[each] is None else f"{row[each]:.2f}" for each in shown)
        p50s = (row["fibserver_p50_ms"], row["other_p50_ms"])
        latencies = ("" if p50 is None else f"{p50:.3f}" for p50 in p50s)
        mark = "" if row["is_met"] else "missed"
        line = layout.format(row["case"], *rates, row["unit"], *ratios, *latencies, mark)
        click.echo(line.rstrip())


def _measure(cases: list[Case], rounds: int) -> None:
    turns = [(number, case) for number in range(rounds) for case in cases]
    with click.progressbar(turns, label="bench-rpc", file=sys.stderr) as progress:
        for number, case in progress:
            case.measure(other_first=number % 2 == 1)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures there.")
@click.option("--only", metavar="REGEX", default="", help="Run the cases whose names match.")
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="A checkout with an earlier fibserver, to be compared with as well.",
)
@click.option("--quick", is_flag=True, help="One round, few requests: does it work at all?")
def main(rounds: int, report: TextIO | None, only: str, before: Path | None, quick: bool) -> None:
    """Compare fibserver with redis-server, and a cold fill with bare arithmetic."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up first
    rounds = 1 if quick else rounds
    with ExitStack() as stack:
        fib_port, workers = stack.enter_context(fibserver())
        redis_port = stack.enter_context(redis_server())
        before_port = stack.enter_context(fibserver(checkout=before))[0] if before else None
        machine = _machine(workers)
        _copy_slices(fib_port, redis_port)
        share = QUICK_SHARE if quick else 1
        cases = [
            *_request_cases(fib_port, redis_port, before_port, share),
            *_cold_cases(workers, before),
        ]
        cases = [case for case in cases if re.search(only, case.name)]
        if not cases:
            raise click.BadParameter("no case has such a name", param_hint="--only")
        _measure(cases, rounds)
    rows = [case.summary() for case in cases]
    _print_table(machine, rows, rounds)
    if report:
        json.dump({"machine": machine, "rounds": rounds, "cases": rows}, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
