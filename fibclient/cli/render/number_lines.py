"""Numbers on a terminal, one per line as they arrive."""

import os
import shutil
import sys

import click

from fibclient.cli.render.truncation import lines
from fibclient.cli.terminal import supports_live_display
from fibclient.client import FibClient

__all__ = ["show"]


def show(client: FibClient, start: int, stop: int) -> None:
    """Print F(start) to F(stop-1), one per line, shortened to the width of the terminal."""
    is_plain = not supports_live_display(sys.stdout) or bool(os.environ.get("NO_COLOR"))
    columns = shutil.get_terminal_size().columns
    for line in lines(client.stream(start, stop, "text"), start, stop, columns):
        label = line.label if is_plain else click.style(line.label, dim=True)
        note = line.note if is_plain or not line.note else click.style(line.note, dim=True)
        sys.stdout.write(f"{label}{line.value}{note}\n")
    sys.stdout.flush()
