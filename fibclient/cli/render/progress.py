"""The progress bar of a long answer, on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fibclient.cli.terminal import is_lively

__all__ = ["progress_bar"]

LEAST_BYTES_FOR_A_BAR = 10_000_000


@contextmanager
def progress_bar(done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function to be told how many more bytes have come.

    It shows a progress bar, if there is much to come and somebody to see it.

    Args:
        done: bytes that are there already.
        total: bytes in all.
    """
    if total - done < LEAST_BYTES_FOR_A_BAR or not is_lively(sys.stderr):
        yield lambda size: None
        return
    # To import it takes as long as a small answer.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

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
