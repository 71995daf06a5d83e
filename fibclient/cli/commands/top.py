"""`top`: live load, latency and memory of each server."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from itertools import islice

import click
from rich.console import Console

from fibclient.cli.exit_codes import EXIT_UNREACHABLE, exit_code
from fibclient.cli.live_screen import INPUT_ENDED, LiveScreen
from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.measuring.polling import ServerStatus, poll
from fibclient.cli.measuring.server_sample import SampleRates, ServerSample
from fibclient.cli.options import Seconds
from fibclient.cli.render.top_order import ORDERS, TopOrder, ordered
from fibclient.cli.render.top_view import TopView
from fibclient.cli.terminal import supports_live_display

__all__ = ["top"]

COLUMNS = (
    "req/s",
    "MB/s",
    "p50_ms",
    "p99_ms",
    "err/s",
    "clients",
    "waiting",
    "workers",
    "busy",
    "died",
    "used_MB",
    "shared_MB",
    "kept_MB",
    "limit_MB",
)
"""The columns of a line, before the server, whose width is not known."""

_QUIT_KEYS = ("q", "Q", INPUT_ENDED)

CUMULATIVE = {"latencies"}
"""Fields of a sample that only serve to compute rates, and are not printed."""


@click.command()
@click.option(
    "--interval",
    type=Seconds(minimum=0.1),
    default=1.0,
    metavar="SECONDS",
    help="Time between two samples.",
)
@click.option(
    "--sort",
    "order_name",
    type=click.Choice(ORDERS),
    default="given",
    metavar="COLUMN",
    help=f"Order of the servers: {', '.join(ORDERS)}.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N intervals.")
@pass_session
def top(session: CliSession, interval: float, order_name: str, count: int | None) -> None:
    """Watch the load, latency, workers and memory of servers.

    On a terminal, this is a live view with a history of the rates. The arrow keys (or < and >)
    choose the column that servers are sorted by, r reverses the order, and q or Ctrl-C ends the
    view and leaves the last figures. Elsewhere, a line is printed for each server and interval, or
    a JSON object with --json.

    Rates and latencies are those of the last interval. Latency is the time from the start of a
    request's execution in the server to the first byte of its reply; its history is that of p99.

    A server that is down is polled again at each interval. With --count, the exit code is 3 if no
    server was reachable, and 1 if all rejected the requests.

    \b
    Examples:
      fibclient top
      fibclient top --server a.example,b.example --interval 5 --sort p99
      fibclient top --count 10 --json | jq .requests_per_second
      fibclient top --interval 60 >> load.txt
    """
    is_live = supports_live_display(sys.stdout) and not session.as_json
    order = TopOrder(order_name)
    try:
        code = (_show_live if is_live else _print)(session, interval, order, count)
    except KeyboardInterrupt:
        return
    if count is not None:
        raise click.exceptions.Exit(code)


def _show_live(session: CliSession, interval: float, order: TopOrder, count: int | None) -> int:
    """Show the live view; return the exit code."""
    code = EXIT_UNREACHABLE
    console = Console()
    statuses: list[ServerStatus] = []

    def wait(seconds: float) -> bool:
        """Handle keys for some seconds; return whether to continue."""
        nonlocal order
        deadline = time.monotonic() + seconds
        while (key := screen.next_key(deadline - time.monotonic())) is not None:
            if key in _QUIT_KEYS:
                return False
            order = _order_for_key(key, order)
            screen.show(TopView(statuses, interval, order))
        return True

    try:
        with LiveScreen(console, sys.stdin.fileno()) as screen:
            for statuses in _views(session, interval, count, wait):
                screen.show(TopView(statuses, interval, order))
                code = min(code, _exit_code(statuses))
    finally:
        if statuses:
            console.print(TopView(statuses, interval, order, is_final=True))
    return code


def _order_for_key(key: str, order: TopOrder) -> TopOrder:
    """Return the order after a key is pressed."""
    match key:
        case "left" | "<":
            return order.moved(-1)
        case "right" | ">":
            return order.moved(1)
        case "r" | "R":
            return order.reversed()
    return order


def _print(session: CliSession, interval: float, order: TopOrder, count: int | None) -> int:
    """Print a line for each server and interval; return the exit code."""
    code = EXIT_UNREACHABLE
    line = _json_line if session.as_json else _plain_line
    if not session.as_json:
        click.echo(" ".join(f"{name:>{_width(name)}}" for name in COLUMNS) + "  server")
    for number, statuses in enumerate(_views(session, interval, count, _pause)):
        code = min(code, _exit_code(statuses))
        if number:  # the first view has no rates
            click.echo("\n".join(map(line, ordered(statuses, order))))
    return code


def _pause(seconds: float) -> bool:
    """Wait, and return True."""
    time.sleep(max(0.0, seconds))
    return True


def _views(
    session: CliSession, interval: float, count: int | None, wait: Callable[[float], bool]
) -> Iterator[list[ServerStatus]]:
    """Yield the statuses before the first interval and after each interval."""
    return islice(poll(session, interval, wait), None if count is None else count + 1)


def _exit_code(statuses: list[ServerStatus]) -> int:
    """Return 0 if any server is up, else the highest exit code of the errors."""
    errors = [status.error for status in statuses if status.error is not None]
    return max(map(exit_code, errors)) if len(errors) == len(statuses) else 0


def _width(name: str) -> int:
    return max(len(name), 7)


def _values(sample: ServerSample, rates: SampleRates | None) -> dict[str, float | None]:
    """Return the value of each column; unknown ones are None."""
    figures: dict[str, float | None] = dict.fromkeys(COLUMNS)
    if rates is not None:
        figures |= {
            "req/s": round(rates.requests_per_second, 1),
            "MB/s": round(rates.bytes_per_second / 1e6, 3),
            "p50_ms": _milliseconds(rates.p50_seconds),
            "p99_ms": _milliseconds(rates.p99_seconds),
            "err/s": round(rates.errors_per_second, 1),
        }
    return figures | {
        "clients": sample.connected_clients,
        "waiting": sample.waiting_clients,
        "workers": sample.workers,
        "busy": sample.workers_busy,
        "died": sample.worker_deaths,
        "used_MB": round(sample.used_bytes / 1e6, 1),
        "shared_MB": round(sample.shared_bytes / 1e6, 1),
        "kept_MB": round(sample.numbers_bytes / 1e6, 1),
        "limit_MB": round(sample.memory_limit_bytes / 1e6, 1),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _plain_line(status: ServerStatus) -> str:
    """Return a line of the table, with dashes for unknown values."""
    figures: dict[str, float | None] = dict.fromkeys(COLUMNS)
    if status.sample is not None:
        figures = _values(status.sample, status.rates)
    values = ("-" if value is None else f"{value}" for value in figures.values())
    line = " ".join(
        f"{value:>{_width(name)}}" for name, value in zip(COLUMNS, values, strict=True)
    )
    return f"{line}  {status.server}" + (f"  down: {status.error}" if status.error else "")


def _json_line(status: ServerStatus) -> str:
    """Return a status as a JSON object."""
    sample, rates = status.sample, status.rates
    values: dict[str, object] = {"server": str(status.server), "is_up": sample is not None}
    if sample is None:
        return json.dumps(values | {"error": str(status.error)})
    values |= {"interval_seconds": round(status.seconds, 3)}
    values |= (
        dict.fromkeys(field.name for field in fields(SampleRates))
        if rates is None
        else asdict(rates)
    )
    values |= {name: value for name, value in asdict(sample).items() if name not in CUMULATIVE}
    return json.dumps(values)
