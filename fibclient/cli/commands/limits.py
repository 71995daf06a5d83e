"""`limits`: how much a server answers at once."""

import sys

import click

from fibclient.cli.main import CliSession, pass_session
from fibcommon.formats import FORMATS

__all__ = ["limits"]


@click.command()
@pass_session
def limits(session: CliSession) -> None:
    """Print the limits on one reply, and the largest N of `first` in each format.

    max_index is the largest index of a number, and max_answer_bytes the largest size of the
    numbers in one reply. On a terminal, thousands are separated.

    \b
    Examples:
      fibclient limits
      fibclient limits --json | jq .largest_n.json
    """
    with session.client() as client:
        found = client.limits()
    largest = {name: found.largest_n(format) for name, format in FORMATS.items()}
    if session.as_json:
        import json  # a tenth of the time that the command takes

        click.echo(json.dumps({**found._asdict(), "largest_n": largest}))
        return
    _print_table(found._asdict())
    click.echo()
    _print_table({"format": "largest N", **largest})


def _print_table(rows: dict[str, object]) -> None:
    separator = "," if sys.stdout.isatty() else ""
    texts = {
        name: f"{value:{separator}}" if isinstance(value, int) else str(value)
        for name, value in rows.items()
    }
    left, right = max(map(len, texts)), max(map(len, texts.values()))
    for name, text in texts.items():
        click.echo(f"{name:{left}}  {text:>{right}}")
