"""Kinds of values on the command line, and what is said of those that are none."""

from pathlib import Path
from typing import Any

import click

from fibclient.client import MAX_SECONDS
from fibcommon.formats import FORMATS

__all__ = ["FORMAT", "CommandOfNumbers", "OutputFile", "Seconds", "WholeNumber"]

MOST = 2**63 - 1
"""A slip of the keyboard beyond it is told here; below it, each server tells its own limit."""

SHOWN_CHARACTERS = 32

FORMAT = click.Choice([name for name in FORMATS if name != "array"])
"""The formats of an answer that is one string of bytes."""


class WholeNumber(click.ParamType[int]):
    """An index or a number of numbers."""

    name = "number"

    def __init__(self, least: int = 0, most: int = MOST) -> None:
        """Describe the numbers.

        Args:
            least: the smallest.
            most: the largest.
        """
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self._least - 1
        if not self._least <= number <= self._most:
            self.fail(_no_number(value, self._least, self._most), param, ctx)
        return number


def _no_number(value: Any, least: int, most: int) -> str:
    return f"{f'{value!r}':.{SHOWN_CHARACTERS}} is no whole number from {least} to {most}"


class CommandOfNumbers(click.Command):
    """A command whose arguments are numbers: -5 is one that is out of range, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)  # the parser takes them off
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not error.option_name[1:2].isdigit():
                raise
            word = next(word for word in words if word.startswith(error.option_name))
            raise click.BadParameter(_no_number(word, 0, MOST), ctx) from error


class Seconds(click.ParamType[float]):
    """A time that the system can wait for."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        """Describe the times.

        Args:
            least: the shortest; of 0, all that is longer.
        """
        self._least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        # nan is neither more nor less than anything.
        if not (seconds > 0 and self._least <= seconds <= MAX_SECONDS):
            least = f"at least {self._least:g}" if self._least else "more than 0"
            self.fail(f"{value} is out of range: it must be {least}, up to a year", param, ctx)
        return seconds


class OutputFile(click.Path):
    """A file to write to; `-` is standard output, as if nothing had been said."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of a file cannot be empty", param, ctx)
        return None if value == "-" else super().convert(value, param, ctx)
