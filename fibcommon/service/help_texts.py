"""Layout of click's help texts on narrow terminals, where click writes lines of 50 columns."""

from collections.abc import Iterable

import click

__all__ = ["HelpContext"]

MAX_WIDTH = 80
MIN_WIDTH = 20


class HelpContext(click.Context):
    """The `context_class` of a command whose help fits the terminal."""

    def make_formatter(self) -> click.HelpFormatter:
        """Return the formatter of this command's help."""
        columns = self.terminal_width
        if columns is None:
            import shutil  # only for those who ask for help: it imports all compressors

            terminal = shutil.get_terminal_size((MAX_WIDTH, 0)).columns
            columns = max(min(terminal, MAX_WIDTH) - 2, MIN_WIDTH)
        return _HelpFormatter(width=columns)


class _HelpFormatter(click.HelpFormatter):
    """A formatter that leaves most of the width to the descriptions."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        super().write_dl(list(rows), min(col_max, self.width // 3), col_spacing)
