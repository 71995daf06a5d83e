"""The `fibserver` command."""

import contextlib
import logging
import os
from functools import partial
from pathlib import Path

import click

from fibcommon import __version__
from fibcommon.configuration.passwords import read_password
from fibcommon.service.errors import (
    EXIT_SHORTAGE,
    ListenError,
    SettingsError,
    end_failed_start,
)
from fibcommon.service.help_texts import HelpContext
from fibcommon.service.logs import configure_logging
from fibcommon.service.systemd import activated_sockets
from fibserver.acceptor import Acceptor
from fibserver.settings import ServerSettings

__all__ = ["main"]

log = logging.getLogger(__name__)

STANDARD_ERROR = 2


# Values stay text: the settings validate them, so errors read the same for every source.
@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file with settings; environment variables and options override it.",
)
@click.option(
    "--listen",
    metavar="ADDRESS",
    multiple=True,
    help="HOST:PORT or unix:/path; may be repeated.  [default: 127.0.0.1:11235]",
)
@click.option("--workers", metavar="N", help="Worker processes.  [default: one per core]")
@click.option(
    "--state-dir",
    metavar="DIR",
    help="Directory that keeps computed numbers across restarts.  [default: none]",
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Address that serves Prometheus metrics.  [default: none]",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    help="debug, info, warning or error.  [default: info]",
)
@click.option("--check-config", is_flag=True, help="Validate the settings and exit.")
@click.version_option(__version__, prog_name="fibserver")
def main(config: Path | None, check_config: bool, **flags: object) -> None:
    """Serve Fibonacci numbers over the Redis protocol.

    \b
    Examples:
      fibserver
      fibserver --listen 127.0.0.1:11235 --listen unix:/run/fib/fibserver.sock
      fibserver --config /etc/fibserver.toml --check-config
      FIBSERVER_MEMORY_LIMIT=2GiB fibserver --workers 4

    \b
    Try it:
      redis-cli -p 11235 FIB.FIRST 10

    On SIGTERM the server answers pending requests, then exits. A failed start exits with 2, or
    with 75 if memory, /dev/shm, processes or file descriptors ran out and a retry may succeed.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    reload = partial(ServerSettings.load, config, is_reload=True, **given)
    try:
        settings = ServerSettings.load(config, is_reload=False, **given)
        if check_config:
            # Only for --check-config: a start reads the file later, and a pipe can be read once.
            if settings.password_file is not None:
                read_password(settings.password_file)
            for line in settings.variable_warnings():
                click.echo(f"fibserver: warning: {line}", err=True)
            click.echo("fibserver: the configuration is fine")
            return
        configure_logging(settings.log_level, settings.log_format)
        for line in settings.variable_warnings():
            log.warning("%s", line)
        activated = activated_sockets(os.environ)
        acceptor = Acceptor(settings, reload, activated)
    except (SettingsError, ListenError, OSError, MemoryError) as error:
        end_failed_start("fibserver", error)
    try:
        acceptor.run()
    except MemoryError:
        os.write(STANDARD_ERROR, b"fibserver: out of memory\n")
        with contextlib.suppress(Exception):
            acceptor.close()
        # A regular interpreter exit would need memory too.
        os._exit(EXIT_SHORTAGE)
    except BaseException:
        acceptor.close()
        raise
    acceptor.close()


main.context_class = HelpContext
