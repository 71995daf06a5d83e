"""Click parameter types and their error messages."""

from pathlib import Path
from typing import Any

import click

from fibclient.client import MAX_SECONDS
from fibcommon.formats import FORMATS

__all__ = ["FORMAT", "CommandOfNumbers", "OutputFile", "Seconds", "WholeNumber"]

MOST = 2**63 - 1
"""The largest index that is sent at all; each server has a lower limit of its own."""

SHOWN_CHARACTERS = 32

FORMAT = click.Choice([name for name in FORMATS if name != "array"])
"""The formats whose reply is a single bulk string."""


class WholeNumber(click.ParamType[int]):
    """An index or a count of numbers."""

    name = "number"

    def __init__(self, least: int = 0, most: int = MOST) -> None:
        """Set the range.

        Args:
            least: The smallest value.
            most: The largest value.
        """
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self._least - 1
        if not self._least <= number <= self._most:
            self.fail(_out_of_range(value, self._least, self._most), param, ctx)
        return number


def _out_of_range(value: Any, least: int, most: int) -> str:
    return f"{f'{value!r}':.{SHOWN_CHARACTERS}} is not a whole number from {least} to {most}"


class CommandOfNumbers(click.Command):
    """A command with numeric arguments: -5 is reported as out of range, not as an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        arguments = list(args)  # the parser consumes args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not error.option_name[1:2].isdigit():
                raise
            value = next(value for value in arguments if value.startswith(error.option_name))
            raise click.BadParameter(_out_of_range(value, 0, MOST), ctx) from error


class Seconds(click.ParamType[float]):
    """A duration that the system can wait for."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        """Set the lower bound.

        Args:
            least: The shortest duration; 0 allows any that is positive.
        """
        self._least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        # Comparisons with nan are false.
        if not (seconds > 0 and self._least <= seconds <= MAX_SECONDS):
            least = f"at least {self._least:g}" if self._least else "more than 0"
            self.fail(f"{value} is out of range: expected {least} and at most a year", param, ctx)
        return seconds


class OutputFile(click.Path):
    """A file to write to; `-` means standard output and converts to None."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the file name is empty", param, ctx)
        return None if value == "-" else super().convert(value, param, ctx)
