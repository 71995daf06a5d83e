"""The sections of INFO as tables on a terminal."""

from collections.abc import Mapping
from itertools import groupby
from os.path import commonprefix

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from fibclient.cli.readable import readable
from fibclient.information import parse_fields

__all__ = ["show_tables"]

Values = Mapping[str, str]


def show_tables(sections: Mapping[str, Values]) -> None:
    """Show a table for each section that has something to tell."""
    console = Console(highlight=False)
    for section, values in sections.items():
        if not values:
            continue
        console.print(section.capitalize(), style="bold")
        for table in _tables(values):
            console.print(Padding(table, (0, 0, 1, 2), expand=False))


def _tables(values: Values) -> list[Table]:
    """Return a table of the plain values, and one of each run of values with the same parts."""
    rows = [(name, value, parse_fields(value)) for name, value in values.items()]
    tables = []
    for parts, run in groupby(rows, key=lambda row: tuple(row[2])):
        if parts:
            tables.append(_table_of_parts(parts, [(name, fields) for name, _, fields in run]))
        else:
            tables.append(_table_of_values({name: value for name, value, _ in run}))
    return tables


def _table_of_values(values: Values) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in values.items():
        if name.removesuffix("_human") not in values or not name.endswith("_human"):
            table.add_row(name, readable(name, value))
    return table


def _table_of_parts(parts: tuple[str, ...], rows: list[tuple[str, dict[str, str]]]) -> Table:
    """Return a table whose first column is headed by what all names begin with, if anything."""
    names = [name for name, _ in rows]
    # These are no paths, and are to be compared letter by letter.
    prefix, underscore, _ = commonprefix(names).rpartition("_")  # noqa: RUF071
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(prefix, style="dim", overflow="fold")
    for part in parts:
        table.add_column(part, justify="right", overflow="fold")
    for name, fields in rows:
        values = (readable(part, value) for part, value in fields.items())
        table.add_row(name.removeprefix(prefix + underscore), *values)
    return table
