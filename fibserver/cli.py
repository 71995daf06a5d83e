"""The `fibserver` command."""

import logging
import sys

import click

from fibserver import __version__
from fibserver.acceptor import Acceptor
from fibserver.listeners import ListenError
from fibserver.settings import SettingsError, load_settings

__all__ = ["main"]

EXIT_FAILED_START = 2
"""For supervisors: starting again will not help."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listen",
    metavar="ADDRESS",
    multiple=True,
    help="HOST:PORT or unix:/path; may be given several times.  [default: 127.0.0.1:11235]",
)
@click.option("--workers", type=int, metavar="N", help="Worker processes.  [default: one a core]")
@click.option(
    "--log-level",
    metavar="LEVEL",
    help="debug, info, warning or error.  [default: info]",
)
@click.version_option(__version__, prog_name="fibserver")
def main(**flags: object) -> None:
    """Serve Fibonacci numbers over the Redis protocol.

    Try it:  redis-cli -p 11235 FIB.FIRST 10
    """
    try:
        settings = load_settings(
            None, **{name: value for name, value in flags.items() if value not in (None, ())}
        )
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        acceptor = Acceptor(settings)
    except (SettingsError, ListenError, OSError) as error:
        for line in str(error).splitlines():
            print(f"fibserver: {line}", file=sys.stderr)
        sys.exit(EXIT_FAILED_START)
    try:
        acceptor.run()
    finally:
        acceptor.close()
