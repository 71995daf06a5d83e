"""`digits`, `mod` and `index`: numbers with an index of up to 1,000 digits."""

from collections.abc import Mapping, Sequence

import click

from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.options import BoundedNumber, NumericCommand, WholeNumber
from fibclient.single_numbers import NumberDigits
from fibcommon.bounds import DIGIT_COUNT, INDEX, LENGTH, MODULUS, VALUE

__all__ = ["digits", "index", "mod"]


@click.command(cls=NumericCommand)
@click.argument("n", type=BoundedNumber(INDEX))
@click.option(
    "--first",
    type=BoundedNumber(DIGIT_COUNT),
    default=20,
    metavar="K",
    help="How many of the first digits.",
)
@click.option(
    "--last",
    type=BoundedNumber(DIGIT_COUNT),
    default=20,
    metavar="K",
    help="How many of the last digits.",
)
@click.option(
    "--count",
    type=WholeNumber(),
    metavar="C",
    help="Print a table of C numbers, F(N) and those after it.",
)
@pass_session
def digits(session: CliSession, n: int, first: int, last: int, count: int | None) -> None:
    """Print how many decimal digits F(N) has, the first and the last ones.

    N may have up to 1,000 digits: F(N) itself is not computed. A table has at most 1,000 numbers,
    and fewer if their digits would be more than 60,000 in total.

    \b
    Examples:
      fibclient digits 1000
      fibclient digits 1000000000000000000000 --first 50 --last 0
      fibclient digits 10000000 --first 10 --last 10 --count 5
      fibclient digits 1000 --json | jq -r .last
    """
    with session.client() as client:
        if count is None:
            _print(session, _fields(n, client.digits(n, first, last)), skip="n")
            return
        found = client.range_digits(n, n + count, first, last)
    rows = [_fields(index, ends) for index, ends in enumerate(found, n)]
    if session.as_json:
        import json  # see below

        click.echo(json.dumps(rows))
    elif rows:
        _print_table([list(rows[0]), *(list(row.values()) for row in rows)])


def _fields(n: int, found: NumberDigits) -> dict[str, str]:
    # Strings, since most JSON parsers lose digits beyond 2^53.
    return {"n": str(n), "digits": str(found.digits), "first": found.first, "last": found.last}


@click.command(cls=NumericCommand)
@click.argument("n", type=BoundedNumber(INDEX))
@click.argument("m", type=BoundedNumber(MODULUS))
@pass_session
def mod(session: CliSession, n: int, m: int) -> None:
    """Print the remainder of F(N) divided by M.

    \b
    Examples:
      fibclient mod 1000 97
      fibclient mod 100000000000000000000 1000000007
      fibclient mod 1000 97 --json
    """
    with session.client() as client:
        remainder = client.mod(n, m)
    if session.as_json:
        _print(session, {"n": str(n), "m": str(m), "remainder": str(remainder)})
    else:
        click.echo(remainder)


@click.command(cls=NumericCommand)
@click.argument("x", type=BoundedNumber(VALUE), required=False)
@click.option(
    "--digits",
    "length",
    type=BoundedNumber(LENGTH),
    metavar="D",
    help="Instead of X: print the first index whose number has D digits.",
)
@pass_session
def index(session: CliSession, x: int | None, length: int | None) -> None:
    """Print where X is among the Fibonacci numbers.

    That is its index if X is a Fibonacci number, the indices of the next smaller and the next
    larger one, and the Zeckendorf sum of X: the indices of Fibonacci numbers, no two of them
    neighbours, whose sum is X.

    \b
    Examples:
      fibclient index 832040
      fibclient index --digits 1000
      fibclient index 100 --json | jq .zeckendorf
    """
    if x is None and length is None:
        raise click.UsageError("X is missing: give a number, or --digits D instead")
    if x is not None and length is not None:
        raise click.UsageError("X and --digits cannot be combined: give one of them")
    with session.client() as client:
        if x is not None:
            _print(session, {"x": str(x), **client.index(x)._asdict()}, skip="x")
            return
        assert length is not None
        first = client.first_index(length)
    if session.as_json:
        _print(session, {"digits": str(length), "index": str(first)})
    else:
        click.echo(first)


def _print(session: CliSession, fields: Mapping[str, object], skip: str = "") -> None:
    """Print fields as JSON, or as lines without the one that repeats the argument."""
    if session.as_json:
        import json  # a tenth of the time that the command takes

        click.echo(json.dumps(fields))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        if name != skip:
            click.echo(f"{name:{width}}  {_text(value)}".rstrip())


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
