"""`info`: the INFO of each server."""

import json
import sys

import click

from fibclient.cli.exit_codes import exit_code, hint_for
from fibclient.cli.main import CliSession, pass_session
from fibclient.errors import FibError
from fibcommon.addresses import Address
from fibcommon.info import parse_info

__all__ = ["info"]

SECTIONS = (
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "commandstats",
    "errorstats",
    "latencystats",
    "waitingstats",
    "workers",
    "sequence",
    "default",
    "all",
)
"""The sections of this version, for shell completion; a server may have others."""

MAX_SHOWN = 64
"""Length to which an unknown section is cut in the error."""


@click.command()
@click.argument(
    "section",
    default="default",
    metavar="[SECTION]",
    shell_complete=lambda context, parameter, incomplete: [
        section for section in SECTIONS if section.startswith(incomplete)
    ],
)
@pass_session
def info(session: CliSession, section: str) -> None:
    """Print the INFO of each server.

    SECTION is one of server, clients, memory, persistence, stats, replication, cpu,
    commandstats, errorstats, latencystats, waitingstats, workers and sequence, or default or
    all. On a terminal, values are formatted as tables; elsewhere, they are printed as received.
    With --json, numbers are numbers, and values with parts are objects.

    \b
    Examples:
      fibclient info
      fibclient info sequence
      fibclient info | grep used_memory
      fibclient info all --json | jq .memory.used_memory
    """
    texts: dict[Address, str] = {}
    failures: dict[Address, FibError] = {}
    for server in session.servers:
        try:
            texts[server] = _fetch(session, server, section)
        except FibError as error:
            if len(session.servers) == 1:
                raise
            failures[server] = error
    if session.as_json:
        _print_json(session.servers, texts, failures)
    else:
        _print(session.servers, texts, failures)
    if failures:
        raise click.exceptions.Exit(max(map(exit_code, failures.values())))


def _fetch(session: CliSession, server: Address, section: str) -> str:
    with session.client(server, max_retries=0) as client:
        text = client.info_text(section)
    if not text:
        raise FibError(f"{server} has no section {section[:MAX_SHOWN]!r}{_suggestion(section)}")
    return text


def _suggestion(section: str) -> str:
    import difflib  # slow to import, and rarely needed

    close = difflib.get_close_matches(section.lower(), SECTIONS)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return ": see `fibclient info --help`"


def _print_json(
    servers: list[Address], texts: dict[Address, str], failures: dict[Address, FibError]
) -> None:
    from fibclient.cli.render.info_format import json_value

    found: dict[Address, object] = {
        server: {"error": str(failures[server])} for server in failures
    }
    for server, text in texts.items():
        found[server] = {
            section: {name: json_value(name, value) for name, value in fields.items()}
            for section, fields in parse_info(text).items()
        }
    by_address = {str(server): found[server] for server in servers}
    click.echo(json.dumps(by_address if len(servers) > 1 else found[servers[0]], indent=2))


def _print(
    servers: list[Address], texts: dict[Address, str], failures: dict[Address, FibError]
) -> None:
    for server in servers:
        if server in failures:
            click.echo(f"{server}  {failures[server]}{hint_for(failures[server])}", err=True)
            continue
        if len(servers) > 1:
            click.echo(f"## {server}")
        if sys.stdout.isatty():
            from fibclient.cli.render.tables import show_tables  # slow to import

            show_tables(parse_info(texts[server]))
        else:
            click.echo("\n".join(texts[server].splitlines()))
