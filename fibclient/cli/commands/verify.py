"""`verify`: whether what a server answers is right, number by number."""

import json
import time
from collections.abc import Iterator
from contextlib import closing

import click

from fibclient.cli.checks.digits import AnswerChecker, WrongAnswer
from fibclient.cli.exit_codes import EXIT_REFUSED
from fibclient.cli.measuring.unpooled import connect
from fibclient.cli.options import FORMAT, CommandOfNumbers, WholeNumber
from fibclient.cli.render.progress import progress_bar
from fibclient.cli.render.units import duration_text, size_text
from fibclient.cli.session import Session, pass_session
from fibclient.errors import FibError, RequestRefused
from fibcommon.formats import FORMATS, Format

__all__ = ["verify"]

REQUEST_BYTES = 64 * 1024 * 1024
"""So much is asked for at a time: servers limit an answer, and there is no limit here."""


@click.command(cls=CommandOfNumbers)
@click.argument("n", type=WholeNumber())
@click.option(
    "--from",
    "start",
    type=WholeNumber(),
    default=0,
    metavar="START",
    help="The first number to check.",
)
@click.option(
    "--format",
    "format_name",
    type=FORMAT,
    default="binary",
    help="The format to ask for.",
)
@pass_session
def verify(session: Session, n: int, start: int, format_name: str) -> None:
    """Check N numbers, from F(0) on.

    Every byte of the answer is looked at. A number is compared modulo the prime 2^61-1 with the
    sum of the two before it, so a random error in one goes unseen with a chance of 1 in 2^61.

    \b
    Examples:
      fibclient verify 100000
      fibclient verify 10000 --format json
      fibclient verify 10 --from 1000000
    """
    stop = start + n
    format = FORMATS[format_name]
    _let_refuse(session, start, stop, format_name)
    begin = time.monotonic()
    checked_bytes = 0
    wrong: WrongAnswer | None = None
    with session.client() as client, progress_bar(0, format.slice_size(start, stop)) as advance:
        try:
            for first, end in _requests(format, start, stop):
                checker = AnswerChecker(format, first, end)
                for piece in client.stream(first, end, format_name):
                    checker.feed(piece)
                    checked_bytes += len(piece)
                    advance(len(piece))
                checker.finish()
        except WrongAnswer as error:
            wrong = error
    seconds = time.monotonic() - begin
    if session.as_json:
        click.echo(_as_json(start, stop, format_name, checked_bytes, seconds, wrong))
    elif wrong is not None:
        click.echo(wrong)
    elif n == 0:
        click.echo("There is nothing to check in 0 numbers.")
    else:
        click.echo(
            f"F({start}) to F({stop - 1}) are right: "
            f"{n:,} numbers, {size_text(checked_bytes)}, {duration_text(seconds)}"
        )
    if wrong is not None:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _let_refuse(session: Session, start: int, stop: int, format_name: str) -> None:
    """Ask a server how large all of it would be, which it refuses at once beyond its limits.

    The requests would come to where the limit is after all that is below it, maybe after hours.

    Raises:
        RequestRefused: it does.
    """
    for server in session.servers:
        try:
            with closing(connect(server, session.password, session.patience_seconds)) as first:
                first.call("FIB.SIZE", start, stop, "FORMAT", format_name)
        except FibError as error:
            if isinstance(error, RequestRefused) and error.code == "LIMIT":
                raise
            continue  # whatever else is the matter, the requests will meet it too
        return


def _requests(format: Format, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of requests that are not too large, and together all."""
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
    wrong: WrongAnswer | None,
) -> str:
    facts: dict[str, object] = {
        "start": start,
        "stop": stop,
        "format": format_name,
        "bytes": checked_bytes,
        "seconds": round(seconds, 6),
        "is_right": wrong is None,
        "chance_unseen": 2.0**-61,
    }
    if wrong is not None:
        facts |= {"first_wrong": wrong.n, "reason": wrong.reason}
    return json.dumps(facts)
