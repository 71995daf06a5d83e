"""`bench`: how much a server answers to many threads, and how soon."""

import json
import sys
import time
from contextlib import nullcontext

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fibclient.cli.exit_codes import EXIT_REFUSED
from fibclient.cli.measuring.load import Load, Outcome
from fibclient.cli.options import FORMAT, Seconds, WholeNumber
from fibclient.cli.render.units import duration_text, milliseconds_text, rate_text, size_text
from fibclient.cli.session import Session, pass_session
from fibclient.cli.terminal import is_lively

__all__ = ["bench"]

DEFAULT_SECONDS = 10.0
PERCENTS = (50, 90, 99, 99.9)
WATCH_SECONDS = 0.1


@click.command()
@click.option(
    "--requests",
    type=click.IntRange(min=1),
    metavar="N",
    help="End after N requests.",
)
@click.option(
    "--seconds",
    type=Seconds(),
    metavar="S",
    help=f"End after S seconds; after {DEFAULT_SECONDS:g}, if neither is said.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1000),
    default=8,
    metavar="T",
    help="How many ask at a time, each over a connection of its own.",
)
@click.option(
    "--first",
    "count",
    type=WholeNumber(least=1),
    default=1000,
    metavar="N",
    help="Ask for the first N numbers.",
)
@click.option(
    "--format",
    "format_name",
    type=FORMAT,
    default="json",
    help="The format to ask for.",
)
@pass_session
def bench(
    session: Session,
    requests: int | None,
    seconds: float | None,
    threads: int,
    count: int,
    format_name: str,
) -> None:
    """Ask for the first numbers again and again, and measure.

    Nothing is tried again: a failure counts as one, by its kind, and the load goes on. Ctrl-C ends
    it with the figures so far. The exit code is 1 if a request failed, and 3 if there was no
    server.

    This client is a Python process, and often what is measured: for more load, run several.

    \b
    Examples:
      fibclient bench
      fibclient bench --seconds 60 --threads 32 --first 10000
      fibclient --json bench --requests 10000 | jq .latency_ms.p99
    """
    if requests is not None and seconds is not None:
        raise click.UsageError("--requests and --seconds are two ways to say when to end: use one")
    if requests is None and seconds is None:
        seconds = DEFAULT_SECONDS
    with session.client() as client:
        client.ping()  # with the usual retries: whether there is a server at all
    with session.client(max_connections=threads, max_retries=0) as client:
        load = Load(client, count, format_name, threads, requests)
        outcome = _watch(load, requests, seconds)
    if session.as_json:
        click.echo(json.dumps(_figures(outcome)))
    elif sys.stdout.isatty():
        Console().print(_table(outcome))
    else:
        for name, value in _flat(_figures(outcome)).items():
            click.echo(f"{name}: {value}")
    if outcome.failures:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _watch(load: Load, requests: int | None, seconds: float | None) -> Outcome:
    """Run a load to its end, or to Ctrl-C, and show how far it has come."""
    is_visible = is_lively(sys.stderr)
    progress = Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        disable=not is_visible,
    )
    # Up to rich 14.2 the end of a disabled progress bar prints an empty line.
    with progress if is_visible else nullcontext():
        task = progress.add_task("", total=requests or seconds, rate="")
        begin = time.monotonic()
        load.start()
        try:
            elapsed = 0.0
            while seconds is None or elapsed < seconds:
                left = WATCH_SECONDS if seconds is None else seconds - elapsed
                if load.wait(min(WATCH_SECONDS, left)):
                    break
                elapsed = time.monotonic() - begin
                done = load.done
                progress.update(
                    task,
                    completed=elapsed if requests is None else done,
                    rate=rate_text(done, elapsed),
                )
        except KeyboardInterrupt:
            return load.end(is_patient=False)
        return load.end(is_patient=True)


def _figures(outcome: Outcome) -> dict[str, object]:
    """Return the figures for programs."""
    seconds, latencies = outcome.seconds, outcome.latencies
    percentiles: dict[str, float] = {}
    if latencies.count:
        percentiles = {f"p{percent:g}": latencies.percentile(percent) for percent in PERCENTS}
        percentiles["max"] = latencies.longest_seconds
    return {
        "seconds": round(seconds, 3),
        "requests": outcome.requests,
        "failed": outcome.failures.total(),
        "failures": dict(outcome.failures.most_common()),
        "requests_per_second": round(latencies.count / seconds, 1),
        "megabytes_per_second": round(outcome.size_bytes / seconds / 1e6, 3),
        "latency_ms": {name: round(value * 1000, 4) for name, value in percentiles.items()},
    }


def _flat(figures: dict[str, object]) -> dict[str, object]:
    """Return figures without figures inside, their names put together."""
    flat: dict[str, object] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": number for inner, number in value.items()}
        else:
            flat[name] = value
    return flat


def _table(outcome: Outcome) -> Table:
    """Return the figures for people."""
    seconds, latencies = outcome.seconds, outcome.latencies
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("requests", f"{outcome.requests:,} in {duration_text(seconds)}")
    table.add_row("failed", f"{outcome.failures.total():,}")
    for kind, count in outcome.failures.most_common():
        table.add_row(f"  {kind}", f"[red]{count:,}[/red]")
    table.add_row("rate", rate_text(latencies.count, seconds))
    table.add_row("output", f"{size_text(outcome.size_bytes / seconds)}/s", end_section=True)
    if latencies.count:
        for percent in PERCENTS:
            value = milliseconds_text(latencies.percentile(percent))
            table.add_row(f"latency p{percent:g}", value)
        table.add_row("latency max", milliseconds_text(latencies.longest_seconds))
    return table
