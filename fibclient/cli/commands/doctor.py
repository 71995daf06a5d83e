"""`doctor`: diagnosis of each server and of the connection to it, with advice."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fibclient.cli.checks.diagnosis import EndpointReport, diagnose
from fibclient.cli.checks.findings import Finding, Level
from fibclient.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE
from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.terminal import shows_progress
from fibcommon.addresses import Address

__all__ = ["doctor"]

MAX_THREADS = 16

MARKS = {
    Level.OK: ("✓", "green"),
    Level.WARNING: ("!", "yellow"),
    Level.PROBLEM: ("✗", "red"),
}


@click.command()
@pass_session
def doctor(session: CliSession) -> None:
    """Diagnose each server and the connection to it.

    The checks resolve the name, connect, identify the peer, authenticate and compare versions,
    then examine round trips, workers, memory, clients, errors and the snapshot, and verify some
    numbers in every format. Each warning and each problem comes with advice. Nothing is changed.

    The exit code is 3 if a server is unreachable, 1 if there is another problem, and 0 if there
    are only warnings.

    \b
    Examples:
      fibclient doctor
      fibclient doctor --server a.example,b.example --password-file password.txt
      fibclient doctor --json | jq '.[] | select(.level != "ok")'
    """

    def diagnose_server(server: Address) -> list[EndpointReport]:
        return diagnose(session, server)

    with ThreadPoolExecutor(MAX_THREADS) as threads, _spinner(session):
        reports = list(chain.from_iterable(threads.map(diagnose_server, session.servers)))
    if session.as_json:
        click.echo(json.dumps(list(chain.from_iterable(map(_objects, reports))), indent=2))
    elif sys.stdout.isatty():
        console = Console()
        for report in reports:
            console.print(_table(report), _verdict(report))
            console.print()
    else:
        for report in reports:
            click.echo("\n".join(_line(report, finding) for finding in report.findings))
    findings = [finding for report in reports for finding in report.findings]
    if any(finding.is_unreachable for finding in findings):
        raise click.exceptions.Exit(EXIT_UNREACHABLE)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise click.exceptions.Exit(EXIT_REFUSED)


def _spinner(session: CliSession) -> AbstractContextManager[object]:
    """Return a context that shows a spinner if a terminal is free for it."""
    if not shows_progress():
        return nullcontext()
    servers = ", ".join(map(str, session.servers))
    return Console(stderr=True).status(f"examining {servers}")


def _table(report: EndpointReport) -> Table:
    table = Table(
        title=report.place, title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in report.findings:
        mark, style = MARKS[finding.level]
        text = Text(finding.text)
        if finding.hint:
            text = Text.assemble(text, "\n", (f"→ {finding.hint}", style))
        table.add_row(Text(mark, style), finding.check, text)
    return table


def _verdict(report: EndpointReport) -> Text:
    levels = [finding.level for finding in report.findings]
    problems, warnings = levels.count(Level.PROBLEM), levels.count(Level.WARNING)
    if any(finding.is_unreachable for finding in report.findings):
        return Text("The server is unreachable.", "red")
    if problems:
        return Text(f"The server has {_pluralized(problems, 'problem')}.", "red")
    if warnings:
        return Text(f"The server works, with {_pluralized(warnings, 'warning')}.", "yellow")
    return Text("The server is healthy.", "green")


def _pluralized(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _line(report: EndpointReport, finding: Finding) -> str:
    hint = f" -> {finding.hint}" if finding.hint else ""
    return f"{finding.level.value:<7}  {finding.check:<8}  {report.place}: {finding.text}{hint}"


def _objects(report: EndpointReport) -> list[dict[str, object]]:
    return [
        {
            "server": str(report.server),
            "place": report.place,
            "check": finding.check,
            "level": finding.level.value,
            "text": finding.text,
            "advice": finding.hint,
            "is_unreachable": finding.is_unreachable,
        }
        for finding in report.findings
    ]
