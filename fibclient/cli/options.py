"""Click parameter types and their error messages."""

from pathlib import Path
from typing import Any

import click

from fibclient.client import MAX_SECONDS
from fibcommon.addresses import Address, parse_addresses
from fibcommon.bounds import Bounds
from fibcommon.formats import FORMATS

__all__ = [
    "FORMAT",
    "Addresses",
    "BoundedNumber",
    "NumericCommand",
    "OutputFile",
    "Seconds",
    "WholeNumber",
]

MAX_INDEX = 2**63 - 1
"""The largest index that is sent at all; each server has a lower limit of its own."""

SHOWN_CHARACTERS = 32

FORMAT = click.Choice([name for name in FORMATS if name != "array"])
"""The formats whose reply is a single bulk string."""


class WholeNumber(click.ParamType[int]):
    """An index or a count of numbers."""

    name = "number"

    def __init__(self, minimum: int = 0, maximum: int = MAX_INDEX) -> None:
        """Set the range.

        Args:
            minimum: The smallest value.
            maximum: The largest value.
        """
        self._minimum = minimum
        self._maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; fail if it is not a whole number within the range."""
        try:
            number = int(value)
        except ValueError:
            number = self._minimum - 1
        if not self._minimum <= number <= self._maximum:
            self.fail(_out_of_range(value, self._minimum, self._maximum), param, ctx)
        return number


class BoundedNumber(click.ParamType[int]):
    """A number within bounds that may have hundreds of digits."""

    name = "number"

    def __init__(self, bounds: Bounds) -> None:
        """Set the range.

        Args:
            bounds: The range.
        """
        self._bounds = bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; fail if it is not a whole number within the bounds."""
        try:
            number = int(value)
        except ValueError:
            number = self._bounds.minimum - 1
        if not self._bounds.minimum <= number <= self._bounds.maximum:
            self.fail(
                f"{f'{value!r}':.{SHOWN_CHARACTERS}} is not a whole number in range: it must be "
                f"{self._bounds.description}",
                param,
                ctx,
            )
        return number


def _out_of_range(value: Any, minimum: int, maximum: int) -> str:
    return f"{f'{value!r}':.{SHOWN_CHARACTERS}} is not a whole number from {minimum} to {maximum}"


class NumericCommand(click.Command):
    """A command with numeric arguments: -5 is reported as out of range, not as an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; fail on a negative number with the range of its argument."""
        arguments = list(args)  # the parser consumes args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            beginning = error.option_name
            # Without such an argument, it is a digit after the letter of another option.
            if beginning[1:2].isdigit() and any(text.startswith(beginning) for text in arguments):
                ctx.ignore_unknown_options = True
                super().parse_args(ctx, arguments)
            raise


class Addresses(click.ParamType[list[Address]]):
    """A comma-separated list of server addresses."""

    name = "addresses"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Address]:
        """Return the addresses; fail if one is invalid."""
        try:
            return parse_addresses(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Seconds(click.ParamType[float]):
    """A duration that the system can wait for."""

    name = "seconds"

    def __init__(self, minimum: float = 0.0) -> None:
        """Set the lower bound.

        Args:
            minimum: The shortest duration; 0 allows any that is positive.
        """
        self._minimum = minimum

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds; fail if they are not a number, too few, or more than a year."""
        try:
            seconds = float(value)
        except ValueError:
            shown = f"{f'{value!r}':.{SHOWN_CHARACTERS}}"
            self.fail(f"{shown} is not a number of seconds: give one such as 0.5", param, ctx)
        # Comparisons with nan are false.
        if not (seconds > 0 and self._minimum <= seconds <= MAX_SECONDS):
            minimum = f"at least {self._minimum:g}" if self._minimum else "more than 0"
            self.fail(
                f"{value} is out of range: expected {minimum} and at most a year", param, ctx
            )
        return seconds


class OutputFile(click.Path):
    """A file to write to; `-` means standard output and converts to None."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, None for standard output; fail if it is empty or a directory."""
        if value == "":
            self.fail("the file name is empty: give a path, or - for standard output", param, ctx)
        return None if value == "-" else super().convert(value, param, ctx)
