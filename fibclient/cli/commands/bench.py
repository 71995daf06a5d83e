"""`bench`: throughput and latency under load."""

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
from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.measuring.load import Load, LoadResult
from fibclient.cli.options import FORMAT, Seconds, WholeNumber
from fibclient.cli.render.units import duration_text, milliseconds_text, rate_text, size_text
from fibclient.cli.terminal import shows_progress

__all__ = ["bench"]

DEFAULT_SECONDS = 10.0
PERCENTS = (50, 90, 99, 99.9)
WATCH_SECONDS = 0.1


@click.command()
@click.option(
    "--requests",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after N requests.",
)
@click.option(
    "--seconds",
    type=Seconds(),
    metavar="S",
    help=f"Stop after S seconds; after {DEFAULT_SECONDS:g} without --requests.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1000),
    default=8,
    metavar="T",
    help="Number of threads, each with its own connection.",
)
@click.option(
    "--first",
    "count",
    type=WholeNumber(minimum=1),
    default=1000,
    metavar="N",
    help="Request the first N numbers.",
)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=FORMAT,
    default="json",
    metavar="FORMAT",
    help=f"Format to request: {', '.join(FORMAT.choices)}.",
)
@pass_session
def bench(
    session: CliSession,
    requests: int | None,
    seconds: float | None,
    threads: int,
    count: int,
    format_name: str,
) -> None:
    """Measure throughput and latency under load.

    Each thread requests the first numbers repeatedly, without retries: failures are counted by
    kind, and the load continues. Ctrl-C stops it and prints the results so far. The exit code is 1
    if a request failed, and 3 if the server was unreachable at the start.

    This client is a Python process and is often the bottleneck: for more load, run several.

    \b
    Examples:
      fibclient bench
      fibclient bench --seconds 60 --threads 32 --first 10000
      fibclient bench --requests 10000 --json | jq .latency_ms.p99
    """
    if requests is not None and seconds is not None:
        raise click.UsageError("--requests and --seconds cannot be combined: give one of them")
    if requests is None and seconds is None:
        seconds = DEFAULT_SECONDS
    with session.client() as client:
        client.ping()  # with the usual retries, to fail early if no server is reachable
    with session.client(max_connections=threads, max_retries=0) as client:
        load = Load(client, count, format_name, threads, requests)
        result = _run(load, requests, seconds)
    if session.as_json:
        click.echo(json.dumps(_values(result)))
    elif sys.stdout.isatty():
        Console().print(_table(result))
    else:
        for name, value in _flat(_values(result)).items():
            click.echo(f"{name}: {value}")
    if result.failures:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _run(load: Load, requests: int | None, seconds: float | None) -> LoadResult:
    """Run a load until it ends or Ctrl-C, and show its progress."""
    is_visible = shows_progress()
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
    # Up to rich 14.2, a disabled progress bar prints an empty line when it ends.
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


def _values(result: LoadResult) -> dict[str, object]:
    """Return the results as values for JSON."""
    seconds, latencies = result.seconds, result.latencies
    percentiles: dict[str, float] = {}
    if latencies.count:
        percentiles = {f"p{percent:g}": latencies.percentile(percent) for percent in PERCENTS}
        percentiles["max"] = latencies.longest_seconds
    return {
        "seconds": round(seconds, 3),
        "requests": result.requests,
        "failed": result.failures.total(),
        "failures": dict(result.failures.most_common()),
        "requests_per_second": round(latencies.count / seconds, 1),
        "megabytes_per_second": round(result.size_bytes / seconds / 1e6, 3),
        "latency_ms": {name: round(value * 1000, 4) for name, value in percentiles.items()},
    }


def _flat(figures: dict[str, object]) -> dict[str, object]:
    """Flatten nested results: join the names with a dot."""
    flat: dict[str, object] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": number for inner, number in value.items()}
        else:
            flat[name] = value
    return flat


def _table(result: LoadResult) -> Table:
    """Return the results as a table."""
    seconds, latencies = result.seconds, result.latencies
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("requests", f"{result.requests:,} in {duration_text(seconds)}")
    table.add_row("failed", f"{result.failures.total():,}")
    for kind, count in result.failures.most_common():
        table.add_row(f"  {kind}", f"[red]{count:,}[/red]")
    table.add_row("rate", rate_text(latencies.count, seconds))
    table.add_row("output", f"{size_text(result.size_bytes / seconds)}/s", end_section=True)
    if latencies.count:
        for percent in PERCENTS:
            value = milliseconds_text(latencies.percentile(percent))
            table.add_row(f"latency p{percent:g}", value)
        table.add_row("latency max", milliseconds_text(latencies.longest_seconds))
    return table
