"""The `fibclient` command."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from fibclient.address import DEFAULT_ADDRESS
from fibclient.client import FibClient
from fibclient.errors import FibError, ServerUnreachable

__all__ = ["main"]

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", default=DEFAULT_ADDRESS, show_default=True, metavar="ADDRESS")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="fibservice", prog_name="fibclient")
@click.pass_context
def main(context: click.Context, server: str, timeout: float, as_json: bool) -> None:
    """Ask a fibserver for Fibonacci numbers.

    \b
    Exit codes:
      0  fine
      1  the server said no
      2  usage
      3  the server is out of reach
    """
    try:
        client = FibClient(server, timeout_seconds=timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--server") from error
    context.obj = context.with_resource(client)
    context.meta["as_json"] = as_json


@main.command()
@click.argument("n", type=click.IntRange(min=0))
@click.pass_context
def first(context: click.Context, n: int) -> None:
    """Print the first N numbers, one a line.

    Example:  fibclient first 10
    """
    client: FibClient = context.obj
    with _failures():
        if context.meta["as_json"]:
            _write(b"[" + client.read(0, n, "json") + b"]\n")
        else:
            _write(client.read(0, n, "text"))


@main.command()
@click.pass_context
def ping(context: click.Context) -> None:
    """Check that the server answers, and how fast.

    Example:  fibclient --server 127.0.0.1:11235 ping
    """
    client: FibClient = context.obj
    with _failures():
        client.ping()  # connects
        started = time.perf_counter()
        client.ping()
        milliseconds = (time.perf_counter() - started) * 1000
    if context.meta["as_json"]:
        click.echo(f'{{"milliseconds": {milliseconds:.3f}}}')
    else:
        click.echo(f"PONG in {milliseconds:.3f} ms")


@contextmanager
def _failures() -> Iterator[None]:
    """Turn failures into one line and the exit code for them."""
    try:
        yield
    except FibError as error:
        click.echo(f"fibclient: {error}", err=True)
        sys.exit(EXIT_UNREACHABLE if isinstance(error, ServerUnreachable) else EXIT_REFUSED)


def _write(data: bytes) -> None:
    """Write to standard output, quietly if whoever reads it has seen enough."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes standard output once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
