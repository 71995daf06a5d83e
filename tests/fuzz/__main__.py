"""Long run: `python -m tests.fuzz [--inputs N] [--seed S] [--processes P] [--live ADDRESS]`.

Each process keeps its server for all its inputs, so that leaks show in its memory. The same seed
and number of processes generate the same inputs. A failure is printed with the options that repeat
it: `--input "b'...'" --plan N`, or the seed if it depends on earlier inputs.
"""

import argparse
import ast
import gc
import multiprocessing
import resource
import sys
import time
import warnings
from multiprocessing.connection import Connection, wait
from random import Random
from typing import NamedTuple

from fibcommon.addresses import Address, parse_address
from tests.fuzz.fakes import open_server
from tests.fuzz.harness import Case, FuzzFailure, Harness, load_corpus
from tests.fuzz.live import assert_serves, attack
from tests.fuzz.mutation import Mutator

INPUTS, LIVE_INPUTS = 10_000_000, 20_000
REPORT_EVERY = 5_000
CROWD_EVERY, CROWD = 1_000, 12
CHECKS_EVERY = 12
"""How many inputs a live server gets between two checks that it still serves others."""

WARM_INPUTS = 50_000
"""After so many every table has been filled, and memory should grow no more."""

MOST_FAILURES = 5


class FuzzReport(NamedTuple):
    """Progress of a process; sizes in KiB.

    Attributes:
        failures: Failures since the last report.
    """

    inputs: int = 0
    bytes: int = 0
    replies: int = 0
    protocol_errors: int = 0
    warm_peak: int = 0
    peak: int = 0
    failures: tuple[str, ...] = ()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mutator(harness: Harness, rng: Random) -> Mutator:
    seeds = load_corpus().values()
    costly = [seed for seed in seeds if harness.is_costly(seed)]
    return Mutator([seed for seed in seeds if seed not in costly], costly, rng)


def _work(pipe: Connection, inputs: int, seed: str) -> None:
    """Run inputs in this process, and send reports through a pipe."""
    warnings.simplefilter("error")
    with open_server() as server:
        harness = Harness(server)
        rng = Random(seed)
        mutate = _mutator(harness, rng)
        figures = harness.figures
        failures: list[str] = []
        warm_peak = found = 0
        next_crowd, next_report = CROWD_EVERY, REPORT_EVERY
        gc.collect()
        gc.freeze()
        while figures.inputs < inputs and found < MOST_FAILURES:
            try:
                if figures.inputs >= next_crowd:
                    next_crowd += CROWD_EVERY
                    harness.check_crowd(mutate.crowd(CROWD), rng.getrandbits(64))
                else:
                    harness.check(Case(mutate(), rng.getrandbits(64)))
            except FuzzFailure as failure:
                found += 1
                failures.append(f"seed {seed!r}, input {figures.inputs}: {failure}")
            if figures.inputs >= min(next_report, inputs) or failures:
                next_report = figures.inputs + REPORT_EVERY
                if not warm_peak and figures.inputs >= min(WARM_INPUTS, inputs):
                    warm_peak = _peak()
                report = FuzzReport(
                    figures.inputs,
                    figures.bytes,
                    figures.replies,
                    figures.protocol_errors,
                    warm_peak,
                    _peak(),
                    tuple(failures),
                )
                pipe.send(report)
                failures.clear()
    pipe.close()


def _print(reports: list[FuzzReport], failures: int, seconds: float) -> None:
    inputs = sum(report.inputs for report in reports)
    peaks = ", ".join(
        f"{report.warm_peak // 1024} to {report.peak // 1024} MiB" for report in reports
    )
    print(
        f"{inputs:,} inputs, {sum(report.bytes for report in reports):,} bytes, "
        f"{sum(report.replies for report in reports):,} replies, "
        f"{sum(report.protocol_errors for report in reports):,} protocol errors, "
        f"{seconds:,.0f} s, {inputs / seconds:,.0f} inputs/s, peak RSS {peaks}, "
        f"{failures} failures",
        flush=True,
    )


def run(inputs: int, seed: int, processes: int) -> int:
    """Run inputs in several processes, and return the number of failures."""
    started = time.monotonic()
    pipes: dict[int, Connection] = {}
    children = []
    for number in range(processes):
        reader, writer = multiprocessing.Pipe(duplex=False)
        pipes[number] = reader
        child = multiprocessing.Process(
            target=_work, args=(writer, inputs // processes, f"{seed}/{number}"), daemon=True
        )
        child.start()
        writer.close()
        children.append(child)
    reports = [FuzzReport()] * processes
    failures = 0
    next_line = started + 60
    while pipes:
        ready = wait(list(pipes.values()), max(0.0, next_line - time.monotonic()))
        for number in [number for number, pipe in pipes.items() if pipe in ready]:
            try:
                report: FuzzReport = pipes[number].recv()
            except EOFError:
                del pipes[number]
                continue
            for text in report.failures:
                print(text, flush=True)
            failures += len(report.failures)
            reports[number] = report
        if time.monotonic() >= next_line:
            next_line += 60
            _print(reports, failures, time.monotonic() - started)
    for child in children:
        child.join()
        failures += child.exitcode != 0
    _print(reports, failures, time.monotonic() - started)
    return failures


def run_live(address: Address, inputs: int, seed: int) -> int:
    """Send inputs to a server, and return the number of failures."""
    rng = Random(f"{seed}/live")
    with open_server() as server:
        mutate = _mutator(Harness(server), rng)
    started = time.monotonic()
    next_line = started + 60
    for number in range(1, inputs + 1):
        try:
            attack(address, mutate(), rng)
            if number % CHECKS_EVERY == 0 or number == inputs:
                assert_serves(address)
        except FuzzFailure as failure:
            print(f"seed {seed}, input {number}: {failure}", flush=True)
            return 1
        if time.monotonic() >= next_line or number == inputs:
            next_line += 60
            seconds = time.monotonic() - started
            print(f"{number:,} inputs, {seconds:,.0f} s, {number / seconds:,.0f} inputs/s")
    return 0


def repeat(data: bytes, plan: int) -> int:
    """Run one input, and return whether it failed."""
    warnings.simplefilter("error")
    with open_server() as server:
        try:
            Harness(server).check(Case(data, plan))
        except FuzzFailure as failure:
            print(failure)
            return 1
    print("it passes")
    return 0


def main() -> int:
    """Run the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz fibserver.")
    parser.add_argument("--inputs", type=int, help=f"{INPUTS:,}; {LIVE_INPUTS:,} with --live")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--live", metavar="HOST:PORT", type=parse_address, help="a real server")
    parser.add_argument("--input", metavar="LITERAL", type=ast.literal_eval, help="just this one")
    parser.add_argument("--plan", type=int, default=0, help="how to run --input")
    options = parser.parse_args()
    if options.input is not None:
        return repeat(options.input, options.plan)
    if options.live:
        return run_live(options.live, options.inputs or LIVE_INPUTS, options.seed)
    return bool(run(options.inputs or INPUTS, options.seed, options.processes))


if __name__ == "__main__":
    sys.exit(main())
