"""`verify`: a check of every number that a server returns."""

import json
import time
from collections.abc import Iterator

import click

from fibclient.cli.checks.digits import SliceChecker, WrongNumber
from fibclient.cli.exit_codes import EXIT_REFUSED
from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.measuring.unpooled import check_limits
from fibclient.cli.options import FORMAT, NumericCommand, WholeNumber
from fibclient.cli.render.progress import progress_bar
from fibclient.cli.render.units import duration_text, size_text
from fibcommon.formats import FORMATS, Format

__all__ = ["verify"]

REQUEST_BYTES = 64 * 1024 * 1024
"""The size of a request: servers limit that of a reply, so `verify` makes as many as it needs."""


@click.command(cls=NumericCommand)
@click.argument("n", type=WholeNumber())
@click.option(
    "--from",
    "start",
    type=WholeNumber(),
    default=0,
    metavar="START",
    help="Index of the first number to check.",
)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=FORMAT,
    default="binary",
    metavar="FORMAT",
    help=f"Format to request: {', '.join(FORMAT.choices)}.",
)
@pass_session
def verify(session: CliSession, n: int, start: int, format_name: str) -> None:
    """Check N numbers, starting with F(0) or F(START).

    Every byte of the replies is checked. Each number is compared modulo the prime 2^61-1 with the
    sum of the two before it: a random error is missed with a probability of 1 in 2^61.

    \b
    Examples:
      fibclient verify 100000
      fibclient verify 10000 --format json
      fibclient verify 10 --from 1000000
    """
    stop = start + n
    format = FORMATS[format_name]
    # Otherwise the limit would show only after all numbers below it were checked.
    servers, step_timeout = session.servers, session.step_timeout_seconds
    check_limits(servers, session.password, step_timeout, start, stop, format_name)
    begin = time.monotonic()
    checked_bytes = 0
    wrong: WrongNumber | None = None
    with session.client() as client, progress_bar(0, format.slice_size(start, stop)) as advance:
        try:
            for first, end in _requests(format, start, stop):
                checker = SliceChecker(format, first, end)
                for piece in client.stream(first, end, format_name):
                    checker.feed(piece)
                    checked_bytes += len(piece)
                    advance(len(piece))
                checker.finish()
        except WrongNumber as error:
            wrong = error
    seconds = time.monotonic() - begin
    if session.as_json:
        click.echo(_as_json(start, stop, format_name, checked_bytes, seconds, wrong))
    elif wrong is not None:
        click.echo(f"{wrong}; see `fibclient doctor`")
    elif n == 0:
        click.echo("Nothing to check: N is 0.")
    else:
        click.echo(
            f"F({start}) to F({stop - 1}) are correct: "
            f"{n:,} numbers, {size_text(checked_bytes)}, {duration_text(seconds)}"
        )
    if wrong is not None:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _requests(format: Format, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of consecutive requests of limited size."""
    while start < stop:
        end = min(stop, max(start + 1, format.stop_within(start, REQUEST_BYTES)))
        yield start, end
        start = end


def _as_json(
    start: int,
    stop: int,
    format_name: str,
    checked_bytes: int,
    seconds: float,
    wrong: WrongNumber | None,
) -> str:
    values: dict[str, object] = {
        "start": start,
        "stop": stop,
        "format": format_name,
        "bytes": checked_bytes,
        "seconds": round(seconds, 6),
        "is_correct": wrong is None,
        "error_probability": 2.0**-61,
    }
    if wrong is not None:
        values |= {"first_wrong": wrong.n, "reason": wrong.reason}
    return json.dumps(values)
