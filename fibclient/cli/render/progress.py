"""Progress bar for large replies, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fibclient.cli.terminal import shows_progress

__all__ = ["progress_bar"]

MIN_BYTES = 10_000_000


@contextmanager
def progress_bar(done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if many bytes are left and a terminal is free for it.

    Args:
        done: The number of bytes received before.
        total: The number of bytes at the end.

    Yields:
        A function to call with the number of bytes of each piece received.
    """
    if total - done < MIN_BYTES or not shows_progress():
        yield lambda size: None
        return
    # Importing rich takes as long as a small request.
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
