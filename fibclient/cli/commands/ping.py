"""`ping`: round-trip times to each server."""

import time
from collections.abc import Iterator

import click

from fibclient.cli.exit_codes import exit_code, hint_for
from fibclient.cli.main import CliSession, pass_session
from fibclient.errors import FibError
from fibcommon.addresses import Address

__all__ = ["ping"]


@click.command()
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Round trips to each server.",
)
@pass_session
def ping(session: CliSession, count: int) -> None:
    """Measure the round-trip time to each server.

    The time to connect is not included. If a server is unreachable, the others are still measured,
    and the exit code is 3.

    \b
    Examples:
      fibclient ping
      fibclient ping --count 1000 | tail -n 1
      fibclient ping --server a.example,b.example --json
    """
    failures: list[FibError] = []
    for server in session.servers:
        report = _JsonReport(server) if session.as_json else _Report(server, session.servers)
        times = []
        try:
            for milliseconds in _round_trips(session, server, count):
                times.append(milliseconds)
                report.answered(milliseconds)
        except FibError as error:
            if len(session.servers) == 1:
                raise
            failures.append(error)
            report.failed(error)
        else:
            report.ended(times)
    if failures:
        raise click.exceptions.Exit(max(map(exit_code, failures)))


def _round_trips(session: CliSession, server: Address, count: int) -> Iterator[float]:
    """Yield the duration of each round trip to a server, in milliseconds."""
    with session.client(server, max_retries=0) as client:
        client.ping()
        for _ in range(count):
            begin = time.perf_counter()
            client.ping()
            yield (time.perf_counter() - begin) * 1000


class _Report:
    """Output as text, with a summary."""

    def __init__(self, server: Address, servers: list[Address]) -> None:
        width = max(map(len, map(str, servers)))
        self._label = "" if len(servers) == 1 else f"{server!s:{width}}  "

    def answered(self, milliseconds: float) -> None:
        click.echo(f"{self._label}PONG in {milliseconds:.3f} ms")

    def failed(self, error: FibError) -> None:
        click.echo(f"{self._label}{error}{hint_for(error)}", err=True)

    def ended(self, times: list[float]) -> None:
        if len(times) > 1:
            import statistics  # with json, a tenth of the time that the command takes

            click.echo(
                f"{self._label}{len(times)} round trips: min {min(times):.3f},"
                f" median {statistics.median(times):.3f}, max {max(times):.3f} ms"
            )


class _JsonReport:
    """Output as JSON, without a summary."""

    def __init__(self, server: Address) -> None:
        self._server = str(server)

    def answered(self, milliseconds: float) -> None:
        self._print(milliseconds=round(milliseconds, 6))

    def failed(self, error: FibError) -> None:
        self._print(error=str(error))

    def ended(self, times: list[float]) -> None:
        """Print no summary."""

    def _print(self, **values: object) -> None:
        import json  # see above

        click.echo(json.dumps({"server": self._server, **values}))
