"""The progress bar of a long answer, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, and give a function to be told how many more bytes have come.

    Args:
        done: bytes that are there already.
        total: bytes in all.
    """
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda size: progress.advance(task, size)
