"""Benchmark of fibserver against redis-server, and of a cold fill against bare arithmetic.

The baseline for computed numbers is a redis-server that holds the same bytes; redis-benchmark
measures both. The baseline for numbers that must be computed first is one thread that does the
same additions in `decimal`, times the number of workers.

A missed target is marked in the table; the exit code is 0 nevertheless.
"""

import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click
from checkouts import before_option
from cold_fill import COLD, fill, run_additions
from servers import ROOT, fibserver, redis_server
from side_by_side import Comparison, Measurement, machine, measure, print_table
from slices import copy_slices

__all__ = ["main"]

RUN_SECONDS = 120
"""Far above any measured time: reaching it is a failure, not a slow machine."""

FIRST = (10, 100, 1000, 10_000)
DIFFERENT = 1000
"""Upper bound of n in the runs with random arguments."""

QUICK_SHARE = 20


def _redis_benchmark(port: int, options: list[str], command: list[str]) -> Measurement:
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
    return Measurement(float(rows[0]["rps"]), float(rows[0]["p50_latency_ms"]))


def _request_cases(
    fib_port: int, redis_port: int, before_port: int | None, share: int
) -> Iterator[Comparison]:
    """Yield the cases with computed numbers; each run makes 1/share of its requests."""

    def case(n: str, target: float, requests: int, *more: str) -> Comparison:
        options = ["-c", "50", "-n", str(max(requests // share, 50)), *more]
        words = ["first", n] if n.isdecimal() else ["different"]
        name = " ".join(words + (["-P 16"] if "-P" in more else []))
        command = ["FIB.FIRST", n, "FORMAT", "json"]
        fib = partial(_redis_benchmark, fib_port, options, command)
        other = partial(_redis_benchmark, redis_port, options, ["GET", f"f:{n}"])
        before = partial(_redis_benchmark, before_port, options, command) if before_port else None
        return Comparison(name, "requests/s", target, fib, other, before)

    yield case("10", 0.95, 100_000)
    yield case("100", 0.95, 100_000)
    yield case("1000", 0.95, 20_000)
    yield case("10000", 1.15, 600)
    yield case("10", 1.0, 1_000_000, "-P", "16")
    yield case("100", 1.0, 500_000, "-P", "16")
    yield case("__rand_int__", 0.8, 50_000, "-r", str(DIFFERENT))
    yield case("__rand_int__", 0.35, 100_000, "-r", str(DIFFERENT), "-P", "16")


def _cold_cases(workers: int, before: Path | None) -> Iterator[Comparison]:
    """Yield the cases that start with an empty server; rates are in megabytes of `json`."""
    _, size_bytes = run_additions()

    def cold(checkout: Path) -> Measurement:
        request = b"FIB.FIRST %d FORMAT json\r\n" % COLD
        return Measurement(size_bytes / 1e6 / fill(request, size_bytes, checkout))

    def bare() -> Measurement:
        return Measurement(workers * size_bytes / 1e6 / run_additions().seconds)

    run_before = partial(cold, before) if before else None
    yield Comparison("cold fill", "MB/s", 0.8, partial(cold, ROOT), bare, run_before)


def _print_report(facts: Mapping[str, str], rows: list[dict[str, Any]], rounds: int) -> None:
    click.echo(", ".join(f"{name} {value}" for name, value in facts.items()))
    click.echo(
        f"Medians of {rounds} rounds. Other: redis-server, or for a cold fill one thread of "
        f"decimal × {facts['workers']}.\nRatio: of the medians; by round: the median of the "
        "ratios of the rounds; before: the same for the earlier fibserver.\nThe ratio must reach "
        "the target.\n"
    )
    print_table(rows, "fibserver", "other")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures to this file.")
@click.option("--only", metavar="REGEX", default="", help="Run the cases whose names match.")
@before_option("fibserver")
@click.option(
    "--quick", is_flag=True, help="Check that the benchmark works: one round, few requests."
)
def main(rounds: int, report: TextIO | None, only: str, before: Path | None, quick: bool) -> None:
    """Compare fibserver with redis-server, and a cold fill with bare arithmetic."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up first
    rounds = 1 if quick else rounds
    with ExitStack() as stack:
        fib_port, workers = stack.enter_context(fibserver())
        redis_port = stack.enter_context(redis_server())
        before_port = stack.enter_context(fibserver(checkout=before))[0] if before else None
        facts = machine() | {"workers": str(workers)}
        keys = {f"f:{n}": n for n in FIRST} | {f"f:{n:012d}": n for n in range(DIFFERENT)}
        copy_slices(fib_port, redis_port, keys)
        share = QUICK_SHARE if quick else 1
        cases = [
            *_request_cases(fib_port, redis_port, before_port, share),
            *_cold_cases(workers, before),
        ]
        cases = [case for case in cases if re.search(only, case.name)]
        if not cases:
            raise click.BadParameter(f'no case matches "{only}"', param_hint="--only")
        measure(cases, rounds, "bench-rpc")
    rows = [case.summary() for case in cases]
    _print_report(facts, rows, rounds)
    if report:
        json.dump({"machine": facts, "rounds": rounds, "cases": rows}, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
