"""Width of help texts."""

import shutil

__all__ = ["help_width"]

MAX_WIDTH = 80
MIN_WIDTH = 20


def help_width() -> int:
    """Return the width of help texts for click, which itself uses at least 50 columns."""
    columns = min(shutil.get_terminal_size((MAX_WIDTH, 0)).columns, MAX_WIDTH)
    return max(columns - 2, MIN_WIDTH)
