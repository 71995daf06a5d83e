"""`first`, `range` and `number`: the numbers themselves.

The functions are called what the commands are, so in this module `range` is not Python's.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fibclient.cli.options import FORMAT, MOST, CommandOfNumbers, OutputFile, WholeNumber
from fibclient.cli.render.document_output import write_to_file, write_to_stdout
from fibclient.cli.render.number_lines import show
from fibclient.cli.session import Session, pass_session
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document

__all__ = ["first", "number", "range"]

_OUTPUT_OPTIONS = (
    click.option(
        "--format",
        "format_name",
        type=FORMAT,
        help="How a program wants the numbers.  [default: text]",
    ),
    click.option(
        "--output",
        "path",
        type=OutputFile(),
        metavar="FILE",
        help="Write them to FILE; - is standard output.",
    ),
    click.option(
        "--continue",
        "is_continued",
        is_flag=True,
        help="Keep what FILE has already, and write the rest behind it. Only the last 8 KiB of it "
        "are compared with what should be there.",
    ),
    click.option(
        "--full",
        "is_full",
        is_flag=True,
        help="Print all digits on a terminal, too.",
    ),
)


def _output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command be told how to put out numbers, and where."""
    for option in reversed(_OUTPUT_OPTIONS):
        command = option(command)
    return command


@click.command(cls=CommandOfNumbers)
@click.argument("n", type=WholeNumber())
@_output_options
@pass_session
def first(session: Session, /, n: int, **output: Any) -> None:
    """Print the first N numbers, F(0) to F(N-1).

    On a terminal, a line each, and long ones without their middles; elsewhere, all digits.

    \b
    Examples:
      fibclient first 100
      fibclient first 1000 --format csv > numbers.csv
      fibclient --json first 10 | jq '.[9]'
      fibclient first 100000 --output numbers.txt
      fibclient first 100000 --output numbers.txt --continue
    """
    _put_out(session, 0, n, (b"[", b"]\n"), **output)


@click.command(cls=CommandOfNumbers)
@click.argument("start", type=WholeNumber())
@click.argument("stop", type=WholeNumber())
@_output_options
@pass_session
def range(session: Session, /, start: int, stop: int, **output: Any) -> None:
    """Print F(START) to F(STOP-1).

    On a terminal, a line each, and long ones without their middles; elsewhere, all digits.

    \b
    Examples:
      fibclient range 90 100
      fibclient range 1000 2000 --format ndjson | grep 999
      fibclient range 0 100000 --format binary --output numbers.bin
    """
    if stop < start:
        raise click.BadParameter(f"STOP is {stop}, less than START, {start}")
    _put_out(session, start, stop, (b"[", b"]\n"), **output)


@click.command(cls=CommandOfNumbers)
@click.argument("n", type=WholeNumber(most=MOST - 1))
@_output_options
@pass_session
def number(session: Session, /, n: int, **output: Any) -> None:
    """Print F(N).

    On a terminal a long one is shown without its middle; elsewhere, and with --full, whole.

    \b
    Examples:
      fibclient number 1000
      fibclient number 1000 --full
      fibclient number 10000000 | tail -c 20
      fibclient --json number 100
    """
    # That --json tells more than --format json is for programs that ask for many.
    frame = (b'{"n": %d, "value": ' % n, b"}\n") if session.as_json else (b"", b"\n")
    _put_out(session, n, n + 1, frame, **output)


def _put_out(
    session: Session,
    start: int,
    stop: int,
    json_frame: tuple[bytes, bytes],
    *,
    format_name: str | None,
    path: Path | None,
    is_continued: bool,
    is_full: bool,
) -> None:
    """Put out numbers for whoever is to read them.

    Args:
        session: whom to ask.
        start: >= 0.
        stop: >= start.
        json_frame: what stands around them in JSON.
        format_name: None for the default.
        path: of the file to write to; None for standard output.
        is_continued: whether to keep what the file has.
        is_full: whether people want all digits.
    """
    if is_continued and path is None:
        raise click.UsageError("--continue is about the FILE of --output")
    if session.as_json and format_name not in (None, "json"):
        raise click.UsageError(f"--json and --format {format_name} contradict each other")
    on_terminal = path is None and sys.stdout.isatty()
    if on_terminal and format_name == "binary":
        raise click.UsageError("binary is not for a terminal: use --output FILE")
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
