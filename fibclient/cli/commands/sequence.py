"""`first`, `range` and `number`: the numbers themselves.

The functions have the names of the commands, so `range` here is not Python's.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.options import FORMAT, MAX_INDEX, NumericCommand, OutputFile, WholeNumber
from fibclient.cli.render.document_output import write_to_file, write_to_stdout
from fibclient.cli.render.number_lines import show
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from fibcommon.sizes import value_digits

__all__ = ["first", "number", "range"]

_OUTPUT_OPTIONS = (
    click.option(
        "--format",
        "-f",
        "format_name",
        type=FORMAT,
        metavar="FORMAT",
        help=f"Format of the numbers: {', '.join(FORMAT.choices)}.  [default: text]",
    ),
    click.option(
        "--output",
        "-o",
        "path",
        type=OutputFile(),
        metavar="FILE",
        help="Write the numbers to FILE; - is standard output.",
    ),
    click.option(
        "--continue",
        "is_continued",
        is_flag=True,
        help="Keep the contents of FILE and append the rest. Only the last 8 KiB of the contents "
        "are verified.",
    ),
    click.option(
        "--full",
        "is_full",
        is_flag=True,
        help="Print all digits, even on a terminal.",
    ),
)


def _output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the format and the destination of numbers."""
    for option in reversed(_OUTPUT_OPTIONS):
        command = option(command)
    return command


@click.command(cls=NumericCommand)
@click.argument("n", type=WholeNumber())
@_output_options
@pass_session
def first(session: CliSession, /, n: int, **output: Any) -> None:
    """Print the first N numbers, F(0) to F(N-1).

    On a terminal, the middle of long numbers is left out; elsewhere, all digits are printed.

    \b
    Examples:
      fibclient first 100
      fibclient first 1000 --format csv > numbers.csv
      fibclient first 10 --json | jq '.[9]'
      fibclient first 100000 --output numbers.txt
      fibclient first 100000 --output numbers.txt --continue
    """
    _write_numbers(session, 0, n, (b"[", b"]\n"), **output)


@click.command(cls=NumericCommand)
@click.argument("start", type=WholeNumber())
@click.argument("stop", type=WholeNumber())
@_output_options
@pass_session
def range(session: CliSession, /, start: int, stop: int, **output: Any) -> None:
    """Print F(START) to F(STOP-1).

    On a terminal, the middle of long numbers is left out; elsewhere, all digits are printed.

    \b
    Examples:
      fibclient range 90 100
      fibclient range 1000 2000 --format ndjson | grep 999
      fibclient range 0 100000 --format binary --output numbers.bin
    """
    if stop < start:
        raise click.BadParameter(
            f"STOP ({stop}) is less than START ({start}): give the smaller index first"
        )
    _write_numbers(session, start, stop, (b"[", b"]\n"), **output)


@click.command(cls=NumericCommand)
@click.argument("n", type=WholeNumber(maximum=MAX_INDEX - 1))
@click.option("--from", "start", type=WholeNumber(), help="Print digits from this position on.")
@click.option("--count", type=WholeNumber(minimum=1), help="Print so many digits at most.")
@_output_options
@pass_session
def number(
    session: CliSession, /, n: int, start: int | None, count: int | None, **output: Any
) -> None:
    """Print F(N), or some of its digits.

    On a terminal, the middle of a long number is left out, unless --full is given; elsewhere, all
    digits are printed.

    \b
    Examples:
      fibclient number 1000
      fibclient number 1000 --full
      fibclient number 10000000 --from 1000000 --count 20
      fibclient number 100 --json
    """
    if start is not None or count is not None:
        if any(output.values()):
            raise click.UsageError(
                "--from and --count print digits as text: omit --format, --output, --continue and "
                "--full"
            )
        _print_digits(session, n, start or 0, count or value_digits(n))
        return
    # Unlike --format json, --json includes n, for programs that request many numbers.
    frame = (b'{"n": %d, "value": ' % n, b"}\n") if session.as_json else (b"", b"\n")
    _write_numbers(session, n, n + 1, frame, **output)


def _print_digits(session: CliSession, n: int, start: int, count: int) -> None:
    with session.client() as client:
        digits = client.number_digits(n, start, count)
    if session.as_json:
        document = {"n": str(n), "digits": str(value_digits(n)), "from": start, "value": digits}
        click.echo(json.dumps(document))
    else:
        click.echo(digits)


def _write_numbers(
    session: CliSession,
    start: int,
    stop: int,
    json_frame: tuple[bytes, bytes],
    *,
    format_name: str | None,
    path: Path | None,
    is_continued: bool,
    is_full: bool,
) -> None:
    """Write F(start) to F(stop-1) to a file or to standard output.

    Args:
        session: The options before the command's name.
        start: The first index, >= 0.
        stop: The index after the last, >= start.
        json_frame: The text before and after the numbers in JSON.
        format_name: The format; None for the default.
        path: The file to write to; None for standard output.
        is_continued: Whether to append to the contents of the file.
        is_full: Whether to print all digits on a terminal.

    Raises:
        click.UsageError: The options cannot be combined.
    """
    if is_continued and path is None:
        raise click.UsageError("--continue requires --output FILE")
    if session.as_json and format_name not in (None, "json"):
        raise click.UsageError(
            f"--json cannot be combined with --format {format_name}: give one of them"
        )
    on_terminal = path is None and sys.stdout.isatty()
    if on_terminal and format_name == "binary":
        raise click.UsageError("binary cannot be printed on a terminal: use --output FILE")
    name = "json" if session.as_json else format_name or "text"
    with session.client() as client:
        if on_terminal and not (session.as_json or format_name or is_full):
            show(client, start, stop)
            return
        opening, closing = json_frame if name == "json" else (b"", b"")
        document = Document(opening, EncodedSlice.of(start, stop, name), closing)
        if path is None:
            write_to_stdout(document, client)
        else:
            write_to_file(document, client, path, is_continued)
