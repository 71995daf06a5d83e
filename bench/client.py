"""Benchmark of fibclient against redis-py with hiredis, each with its own server.

The baseline is redis-py, the client that most Python programs use, with a redis-server that holds
the same bytes. Each side of a case runs in a process of its own (`client_run.py`) for a fixed
time. fibclient's cache and queue, which redis-py does not have, are compared with its plain GET
without a target; the memory of a long stream is compared with a fixed limit.

A missed target is marked in the table; the exit code is 0 nevertheless.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click
import client_run
from checkouts import before_option
from servers import ROOT, client, fibserver, redis_server
from side_by_side import Comparison, Measurement, machine, measure, print_table
from slices import copy_slices

__all__ = ["main"]

RUN_SECONDS = 120
"""Far above any measured time: reaching it is a failure, not a slow machine."""

CALL_SECONDS = 1.5
QUICK_SHARE = 10

COUNTS = (10, 1000, 10_000)
STREAMED = 100_000
STREAM_TARGET_MIB = 64

STREAM = """
import json, re, sys, time
from pathlib import Path
from fibclient import FibClient

def peak_mib():
    # Of this program alone: getrusage() also counts the process before exec().
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024

with FibClient(f"127.0.0.1:{sys.argv[1]}") as fib:
    fib.ping()
    before = peak_mib()
    started = time.perf_counter()
    size = sum(map(len, fib.stream(0, int(sys.argv[2]), "json")))
    seconds = time.perf_counter() - started
    whole = size == fib.size(0, int(sys.argv[2]), "json")
    report = {"before_mib": before, "peak_mib": peak_mib(), "seconds": seconds, "bytes": size}
    print(json.dumps(report | {"is_whole": whole}))
"""


class Side(NamedTuple):
    """What one process measures: a call of `client_run.CALLS` to a server."""

    call: str
    port: int
    checkout: Path = ROOT


def _python(arguments: list[str], checkout: Path) -> Any:
    """Run a Python process with the fibclient of a checkout, and return its JSON output."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if finished.returncode:
        raise click.ClickException(f"{arguments[-5:]}: {finished.stderr}")
    return json.loads(finished.stdout)


def _run(side: Side, n: int, threads: int, seconds: float, digest: str) -> Measurement:
    args = (side.call, n, threads, seconds, side.port)
    report = _python([client_run.__file__, *map(str, args)], side.checkout)
    if report["digest"] != digest:
        raise click.ClickException(f"{side.call} {n} returned wrong numbers")
    return Measurement(report["rate"], report["p50_ms"])


def _cases(
    fib_port: int, redis_port: int, before: Path | None, seconds: float
) -> Iterator[Comparison]:
    """Yield the cases, each with a call of fibclient and one of redis-py."""
    with client(redis_port) as other:
        values: dict[int, Any] = {n: other.get(client_run.key(n)) for n in COUNTS}
    digests = {n: hashlib.sha256(value).hexdigest() for n, value in values.items()}

    def case(
        ours: str, other: str, n: int, threads: int, target: float | None = None
    ) -> Comparison:
        def run(side: Side) -> partial[Measurement]:
            return partial(_run, side, n, threads, seconds, digests[n])

        return Comparison(
            f"{ours} {n} × {threads}",
            "calls/s",
            target,
            run(Side(ours, fib_port)),
            run(Side(other, redis_port)),
            run(Side(ours, fib_port, before)) if before else None,
        )

    for n, target in zip(COUNTS, (1.3, 1.3, 2.0), strict=True):
        for threads in (1, client_run.MAX_THREADS):
            yield case("read", "get", n, threads, target)
    for threads in (1, client_run.MAX_THREADS):
        yield case("first", "get ints", 1000, threads, 1.3)
    for n in COUNTS:
        yield case("cached", "get", n, 1)
    for threads in (1, client_run.MAX_THREADS):
        yield case("submit", "get", 10, threads)


def _stream(port: int) -> dict[str, Any]:
    """Return the time and the peak memory of a stream in a process of its own."""
    report: dict[str, Any] = _python(["-c", STREAM, str(port), str(STREAMED)], ROOT)
    if not report["is_whole"]:
        raise click.ClickException(f"a stream of the first {STREAMED} ended early")
    report["target_mib"] = STREAM_TARGET_MIB
    report["is_met"] = report["peak_mib"] < STREAM_TARGET_MIB
    return report


def _print_report(
    facts: Mapping[str, str],
    rows: list[dict[str, Any]],
    stream: dict[str, Any] | None,
    rounds: int,
) -> None:
    click.echo(", ".join(f"{name} {value}" for name, value in facts.items()))
    click.echo(
        f"Medians of {rounds} rounds; × threads that share a client; redis-py parses with "
        "hiredis.\nread: without the cache, against GET; first: ints, without the cache, against "
        "GET and json.loads;\ncached: against GET, which has no cache; submit: read through the "
        "queue, against plain GET.\nRatio: of the medians; by round: the median of the ratios of "
        "the rounds; before: the same for\nthe earlier fibclient. The ratio must reach the "
        "target.\n"
    )
    if rows:
        print_table(rows, "fibclient", "redis-py")
    if stream:
        mark = "" if stream["is_met"] else "  missed"
        click.echo(
            f"\nstream of the first {STREAMED:,} ({stream['bytes'] / 1e9:.2f} GB): "
            f"{stream['seconds']:.1f} s, peak memory {stream['peak_mib']:.1f} MiB, "
            f"{stream['before_mib']:.1f} MiB before it (target: less than "
            f"{stream['target_mib']} MiB){mark}"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures to this file.")
@click.option("--only", metavar="REGEX", default="", help="Run the cases whose names match.")
@before_option("fibclient")
@click.option(
    "--quick", is_flag=True, help="Check that the benchmark works: one round, short runs."
)
def main(rounds: int, report: TextIO | None, only: str, before: Path | None, quick: bool) -> None:
    """Compare fibclient with redis-py, and measure the memory of a long stream."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up first
    rounds = 1 if quick else rounds
    seconds = CALL_SECONDS / QUICK_SHARE if quick else CALL_SECONDS
    facts = machine() | {"redis-py": version("redis"), "hiredis": version("hiredis")}
    with ExitStack() as stack:
        fib_port, _ = stack.enter_context(fibserver())
        redis_port = stack.enter_context(redis_server())
        copy_slices(fib_port, redis_port, {client_run.key(n): n for n in COUNTS})
        cases = list(_cases(fib_port, redis_port, before, seconds))
        cases = [case for case in cases if re.search(only, case.name)]
        is_streaming = bool(re.search(only, "stream"))
        if not cases and not is_streaming:
            raise click.BadParameter(f'no case matches "{only}"', param_hint="--only")
        measure(cases, rounds, "bench-client")
        stream = _stream(fib_port) if is_streaming else None
    rows = [case.summary() for case in cases]
    _print_report(facts, rows, stream, rounds)
    if report:
        figures = {"machine": facts, "rounds": rounds, "cases": rows, "stream": stream}
        json.dump(figures, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
