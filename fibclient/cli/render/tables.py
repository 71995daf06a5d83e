"""Tables of INFO sections on a terminal."""

from collections.abc import Mapping
from itertools import groupby
from os.path import commonprefix
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from fibclient.cli.render.info_format import format_value
from fibcommon.info import parse_fields

__all__ = ["show_tables"]

Values = Mapping[str, str]

INDENT = 2
WIDEST = 10_000
"""A width that every table fits in."""


def show_tables(sections: Mapping[str, Values]) -> None:
    """Print tables for each section that has any values."""
    console = Console(highlight=False)
    for section, values in sections.items():
        if not values:
            continue
        console.print(section.capitalize(), style="bold")
        for table in _tables(console, values):
            console.print(Padding(table, (0, 0, 1, INDENT), expand=False))


def _tables(console: Console, values: Values) -> list[Table]:
    """Return a table for each run of plain values, or of values with the same parts."""
    rows = [(name, value, parse_fields(value)) for name, value in values.items()]
    tables = []
    for parts, run in groupby(rows, key=lambda row: tuple(row[2])):
        group = list(run)
        if parts:
            tables.append(_table_of_parts(console, {name: fields for name, _, fields in group}))
        else:
            tables.append(_table_of_values({name: value for name, value, _ in group}))
    return tables


def _table_of_values(values: Values) -> Table:
    table = _table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if name.removesuffix("_human") not in values or not name.endswith("_human"):
            table.add_row(name, format_value(name, value))
    return table


def _table_of_parts(console: Console, rows: Mapping[str, Values]) -> Table:
    """Return a table with a column for each part, or with one for all if they do not fit.

    The heading of the first column is the common prefix of the names.
    """
    names = list(rows)
    # Names, not paths: compare character by character.
    prefix, underscore, _ = commonprefix(names).rpartition("_")  # noqa: RUF071
    wide, narrow = _table(header_style="dim"), _table(header_style="dim")
    for table in (wide, narrow):
        table.add_column(prefix, style="dim", no_wrap=True)
    narrow.add_column(overflow="fold")
    for part in rows[names[0]]:
        wide.add_column(part, justify="right")
    for name, fields in rows.items():
        label = name.removeprefix(prefix + underscore)
        values = {part: format_value(part, value) for part, value in fields.items()}
        wide.add_row(label, *values.values())
        narrow.add_row(label, " ".join(f"{part}={value}" for part, value in values.items()))
    needed = console.measure(wide, options=console.options.update(width=WIDEST)).maximum
    return wide if needed <= console.width - INDENT else narrow


def _table(**options: Any) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), **options)
