"""`doctor`: what is wrong between here and each server, and what to do."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fibclient.cli.checks.examination import Report, examine
from fibclient.cli.checks.findings import Finding, Level
from fibclient.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE
from fibclient.cli.session import Session, pass_session
from fibclient.cli.terminal import is_lively
from fibcommon.addresses import Address

__all__ = ["doctor"]

MOST_THREADS = 16

MARKS = {
    Level.OK: ("✓", "green"),
    Level.WARNING: ("!", "yellow"),
    Level.PROBLEM: ("✗", "red"),
}


@click.command()
@pass_session
def doctor(session: Session) -> None:
    """Find out what is wrong between here and each server.

    It looks up the name, connects, sees what answers there, says the password, and compares
    versions; it looks at round trips, workers, memory, clients, errors and the snapshot, and
    checks some numbers in every format. For whatever is not well it says what to do. Nothing is
    changed.

    The exit code is 3 if a server cannot be reached, 1 if there is another problem, and 0 if there
    are only warnings.

    \b
    Examples:
      fibclient doctor
      fibclient --server a:11235,b:11235 --password-file /etc/fib/password doctor
      fibclient --json doctor | jq '.[] | select(.level != "ok")'
    """

    def examined(server: Address) -> list[Report]:
        return examine(session, server)

    with ThreadPoolExecutor(MOST_THREADS) as threads, _patience(session):
        reports = list(chain.from_iterable(threads.map(examined, session.servers)))
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


def _patience(session: Session) -> AbstractContextManager[object]:
    """Return a sign that something is being done, if there is somebody to see it."""
    if not is_lively(sys.stderr):
        return nullcontext()
    servers = ", ".join(map(str, session.servers))
    return Console(stderr=True).status(f"examining {servers}")


def _table(report: Report) -> Table:
    table = Table(
        title=report.place, title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in report.findings:
        mark, style = MARKS[finding.level]
        text = Text(finding.text)
        if finding.advice:
            text = Text.assemble(text, "\n", (f"→ {finding.advice}", style))
        table.add_row(Text(mark, style), finding.check, text)
    return table


def _verdict(report: Report) -> Text:
    levels = [finding.level for finding in report.findings]
    problems, warnings = levels.count(Level.PROBLEM), levels.count(Level.WARNING)
    if any(finding.is_unreachable for finding in report.findings):
        return Text("It cannot be reached.", "red")
    if problems:
        return Text(
            "It has a problem." if problems == 1 else f"It has {problems} problems.", "red"
        )
    if warnings:
        return Text(f"It works; {_counted(warnings)}.", "yellow")
    return Text("It is well.", "green")


def _counted(warnings: int) -> str:
    return "one thing could be better" if warnings == 1 else f"{warnings} things could be better"


def _line(report: Report, finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.level.value:<7}  {finding.check:<8}  {report.place}: {finding.text}{advice}"


def _objects(report: Report) -> list[dict[str, object]]:
    return [
        {
            "server": str(report.server),
            "place": report.place,
            "check": finding.check,
            "level": finding.level.value,
            "text": finding.text,
            "advice": finding.advice,
            "is_unreachable": finding.is_unreachable,
        }
        for finding in report.findings
    ]
