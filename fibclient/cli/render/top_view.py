"""Live view of `top`: a panel for each server, or a row for each if panels do not fit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fibclient.cli.measuring.polling import ServerStatus
from fibclient.cli.measuring.server_sample import SampleRates, ServerSample
from fibclient.cli.render.top_order import TopOrder, ordered
from fibclient.cli.render.units import duration_text, milliseconds_text, size_text

__all__ = ["TopView", "sparkline"]

_LEVELS = "▁▂▃▄▅▆▇█"
_LABEL_WIDTH = 10
_VALUE_WIDTH = 28
_NARROW_VALUE_WIDTH = 12
_FRAME_WIDTH = 4
_PANEL_LINES = 10
_MIN_BAR_WIDTH = 6
_MAX_BAR_WIDTH = 40


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Return the last values as bars, scaled so that the highest fills its line.

    Args:
        values: Values >= 0; None for a gap.
        width: The maximum number of bars.
    """
    shown = values[-width:] if width > 0 else ()
    highest = max((value for value in shown if value is not None), default=0.0) or 1.0
    top = len(_LEVELS) - 1
    return "".join(
        " " if value is None else _LEVELS[round(value / highest * top)] for value in shown
    )


class TopView:
    """The statuses of all servers, laid out for the size of the terminal."""

    def __init__(
        self,
        statuses: list[ServerStatus],
        interval_seconds: float,
        order: TopOrder,
        *,
        is_final: bool = False,
    ) -> None:
        """Set what to show.

        Args:
            statuses: The statuses of all servers.
            interval_seconds: The time between two views.
            order: The order of the servers.
            is_final: Whether the view stays after the end, when no keys have an effect.
        """
        self._statuses = ordered(statuses, order)
        self._interval = interval_seconds
        self._order = order
        self._is_final = is_final

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        statuses, width = self._statuses, options.max_width
        lines = sum(3 if status.sample is None else _PANEL_LINES for status in statuses)
        if not self._is_final:
            yield self._heading(width)
        if lines < (options.height or console.height):
            yield Group(*(_panel(status, width) for status in statuses))
        else:
            yield _rows(statuses, width)

    def _heading(self, width: int) -> Text:
        """Return the line with the keys, as many as fit."""
        parts = [f"every {self._interval:g} s", "q to quit"]
        if len(self._statuses) > 1:
            parts[1:1] = [f"sorted by {self._order}", "← → column", "r to reverse"]
        while len(" · ".join(parts)) > width and len(parts) > 2:
            del parts[-2]
        return Text(" · ".join(parts), style="dim", justify="right", overflow="ellipsis")


def _panel(status: ServerStatus, width: int) -> Panel:
    sample = status.sample
    if sample is None:
        return Panel(
            _down(status), title=str(status.server), title_align="left", border_style="red"
        )
    title = (
        f"[bold]{status.server}[/bold] · fibserver {sample.version} · "
        f"up {duration_text(sample.uptime_seconds)}"
    )
    lines = _lines(status, sample, width - _FRAME_WIDTH - _LABEL_WIDTH)
    body = Text("\n", no_wrap=True, overflow="ellipsis").join(
        Text.assemble((label.ljust(_LABEL_WIDTH), "dim"), line) for label, line in lines
    )
    return Panel(body, title=title, title_align="left", border_style="green")


def _lines(status: ServerStatus, sample: ServerSample, width: int) -> list[tuple[str, Text]]:
    """Return the lines of a panel with their labels."""
    rates = status.rates
    requests, output, latency = _rate_texts(rates)
    errors = rates.errors_per_second if rates else 0.0
    error_style = "bold red" if errors else "dim"
    histories = list(zip(*map(_levels, status.history), strict=True)) or [()] * 4
    value_width = _VALUE_WIDTH if width > 2 * _VALUE_WIDTH else _NARROW_VALUE_WIDTH

    def with_history(value: str, history: Sequence[float | None], style: str = "") -> Text:
        value = value.ljust(value_width)
        return Text.assemble(
            (value, style), (sparkline(history, width - len(value)), style or "cyan")
        )

    kept, limit = sample.numbers_bytes, sample.memory_limit_bytes
    memory = (
        f"{size_text(kept)} of {size_text(limit)}, "
        f"{size_text(sample.shared_bytes)} shared, {size_text(sample.used_bytes)} in total"
    )
    elements = " · ".join(f"{name} {count:,}" for name, count in sample.elements.items())
    return [
        ("requests", with_history(requests, histories[0])),
        ("output", with_history(output, histories[1])),
        ("latency", with_history(latency, histories[2])),
        ("errors", with_history(f"{errors:,.1f}/s", histories[3], error_style)),
        (
            "clients",
            Text(f"{sample.connected_clients:,}, {sample.waiting_clients:,} waiting"),
        ),
        (
            "workers",
            Text.assemble(
                f"{sample.workers}, {sample.workers_busy} busy, ",
                (f"{sample.worker_deaths} died", "red" if sample.worker_deaths else ""),
            ),
        ),
        ("memory", _with_bar(memory, kept / limit if limit else 0.0, width)),
        ("resident", Text(elements or "none")),
    ]


def _levels(rates: SampleRates | None) -> tuple[float | None, ...]:
    """Return the values of an interval that the history shows."""
    if rates is None:
        return (None,) * 4
    return (
        rates.requests_per_second,
        rates.bytes_per_second,
        rates.p99_seconds,
        rates.errors_per_second,
    )


def _rate_texts(rates: SampleRates | None) -> tuple[str, str, str]:
    """Return the texts for requests, output and latency."""
    if rates is None:
        return "–", "–", "–"
    return (
        f"{rates.requests_per_second:,.0f}/s",
        f"{size_text(rates.bytes_per_second)}/s",
        f"p50 {_latency(rates.p50_seconds)}   p99 {_latency(rates.p99_seconds)}",
    )


def _latency(seconds: float | None) -> str:
    return "–" if seconds is None else milliseconds_text(seconds)


def _with_bar(text: str, share: float, width: int) -> Text:
    """Return a text, followed by a bar if there is room."""
    room = min(_MAX_BAR_WIDTH, width - len(text) - 2)
    if room < _MIN_BAR_WIDTH:
        return Text(text)
    filled = round(min(1.0, share) * room)
    style = "red" if share > 0.9 else "green"
    return Text.assemble(
        f"{text}  ", ("━" * filled, style), ("━" * (room - filled), "bright_black")
    )


def _down(status: ServerStatus) -> Text:
    return Text.assemble(("down", "bold red"), f"  {status.error}")


class _Column(NamedTuple):
    """A column of the table.

    Attributes:
        title: The heading.
        min_width: The narrowest terminal that shows it.
        value: Returns its text.
    """

    title: str
    min_width: int
    value: Callable[[ServerSample, SampleRates], str]


_COLUMNS = (
    _Column("req/s", 0, lambda sample, rates: f"{rates.requests_per_second:,.0f}"),
    _Column("output", 0, lambda sample, rates: f"{size_text(rates.bytes_per_second)}/s"),
    _Column("p50", 80, lambda sample, rates: _latency(rates.p50_seconds)),
    _Column("p99", 0, lambda sample, rates: _latency(rates.p99_seconds)),
    _Column("errors/s", 100, lambda sample, rates: f"{rates.errors_per_second:,.1f}"),
    _Column("clients", 110, lambda sample, rates: f"{sample.connected_clients:,}"),
    _Column("busy", 70, lambda sample, rates: f"{sample.workers_busy}/{sample.workers}"),
    _Column("memory", 120, lambda sample, rates: size_text(sample.used_bytes)),
)


_ROW_BARS = 12
_MIN_WIDTH_OF_ROW_BARS = 80


def _rows(statuses: list[ServerStatus], width: int) -> Table:
    columns = [column for column in _COLUMNS if column.min_width <= width]
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))
    table.add_column("server", ratio=1, no_wrap=True, overflow="ellipsis")
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    bars = _ROW_BARS if width >= _MIN_WIDTH_OF_ROW_BARS else 0
    if bars:
        table.add_column("history", no_wrap=True, width=bars, style="cyan")
    for status in statuses:
        sample, rates = status.sample, status.rates
        if sample is None:
            # A narrow table has no room for the reason.
            is_narrow = width < _MIN_WIDTH_OF_ROW_BARS
            down = (str(status.server), Text("down", "bold red"))
            line = Text.assemble(f"{status.server} ", _down(status))
            table.add_row(*down if is_narrow else [line])
        elif rates is None:
            table.add_row(str(status.server), *("–" for _ in columns))
        else:
            values = (column.value(sample, rates) for column in columns)
            history = [
                None if each is None else each.requests_per_second for each in status.history
            ]
            last = [sparkline(history, bars)] if bars else []
            table.add_row(str(status.server), *values, *last)
    return table
