"""The `fibweb` command."""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from fibcommon import __version__
from fibcommon.addresses import parse_address
from fibcommon.service.errors import (
    ListenError,
    SettingsError,
    end_failed_start,
    is_shortage,
)
from fibcommon.service.help_texts import HelpContext
from fibcommon.service.listeners import address_of, close_listener, open_listeners
from fibcommon.service.logs import configure_logging
from fibcommon.service.systemd import Notifier, activated_sockets
from fibweb.processes.embedded import EmbeddedServer, EmbeddedServerError
from fibweb.processes.web_worker import ServiceContext, WebWorker
from fibweb.settings import WebSettings, servers_password
from fibweb.stats.shared_stats import SharedStats

__all__ = ["main"]

log = logging.getLogger(__name__)

METRICS_NAME = "metrics"
"""FileDescriptorName= of the metrics socket in its systemd unit."""


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
    help="HOST:PORT or unix:/path; may be repeated.  [default: 127.0.0.1:8080]",
)
@click.option(
    "--servers",
    metavar="ADDRESSES",
    help="Comma-separated addresses of the fibservers.  [default: 127.0.0.1:11235]",
)
@click.option(
    "--threads",
    metavar="N",
    help="Threads per process that wait for fibservers.  [default: 4]",
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Address that serves /metrics.  [default: those of --listen]",
)
@click.option(
    "--root-path",
    metavar="PATH",
    help="Path prefix that a proxy does not strip, such as /numbers.  [default: none]",
)
@click.option("--processes", metavar="N", help="Number of serving processes.  [default: 1]")
@click.option(
    "--embedded",
    is_flag=True,
    default=None,
    help="Start a private fibserver and use it.",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    help="debug, info, warning or error.  [default: info]",
)
@click.option("--check-config", is_flag=True, help="Validate the settings and exit.")
@click.version_option(__version__, prog_name="fibweb")
def main(config: Path | None, check_config: bool, **flags: object) -> None:
    """Serve Fibonacci numbers over HTTP.

    \b
    Examples:
      fibweb --embedded
      fibweb --listen 0.0.0.0:80 --servers a.example:11235,b.example:11235
      fibweb --config /etc/fibweb.toml --check-config
      FIBWEB_ACCESS_LOG=true fibweb --processes 2

    \b
    Try it:
      curl http://127.0.0.1:8080/fib/10

    On SIGTERM fibweb completes the requests in flight, then exits. A failed start exits with 2,
    or with 75 if memory, processes, descriptors or disk space ran out and a retry may succeed.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # children import nothing from the working directory
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    reload = partial(WebSettings.load, config, is_reload=True, **given)
    with ExitStack() as stack:
        try:
            settings = WebSettings.load(config, is_reload=False, **given)
            password = servers_password(settings)
            if check_config:
                for line in settings.variable_warnings():
                    click.echo(f"fibweb: warning: {line}", err=True)
                click.echo("fibweb: the configuration is fine")
                return
            configure_logging(settings.log_level, settings.log_format)
            for line in settings.variable_warnings():
                log.warning("%s", line)
            run = _prepare(settings, reload, password, stack)
        except (SettingsError, ListenError, EmbeddedServerError, OSError, MemoryError) as error:
            end_failed_start("fibweb", error)
        try:
            run()
        except (OSError, MemoryError, RuntimeError) as error:
            if not is_shortage(error):
                raise
            end_failed_start("fibweb", error)


main.context_class = HelpContext


def _prepare(
    settings: WebSettings,
    reload: Callable[[], WebSettings],
    password: str | None,
    stack: ExitStack,
) -> Callable[[], None]:
    """Open the listeners, start the embedded fibserver and return what runs the service.

    Raises:
        ListenError: An address cannot be listened on.
        EmbeddedServerError: The embedded fibserver does not start.
    """
    notifier = Notifier(os.environ)
    stack.callback(notifier.close)
    activated = activated_sockets(os.environ)
    for passed in activated:
        stack.callback(passed.socket.close)
    listeners = [passed.socket for passed in activated if passed.name != METRICS_NAME]
    metrics_listeners = [passed.socket for passed in activated if passed.name == METRICS_NAME]
    if not listeners:
        listeners = _open(settings.listen, "--listen", stack)
    if not metrics_listeners and settings.metrics_listen:
        metrics_listeners = _open([settings.metrics_listen], "--metrics-listen", stack)
    servers, embedded = ",".join(settings.servers), None
    if settings.embedded:
        embedded = stack.enter_context(EmbeddedServer(os.environ))
        servers = embedded.address
    urls = [_url(listener) for listener in listeners]
    service = ServiceContext(
        settings,
        reload,
        listeners,
        metrics_listeners,
        servers,
        password,
        SharedStats(settings.processes),
        partial(_print_ready, urls),
    )
    if settings.processes > 1:
        from fibweb.processes.supervisor import Supervisor

        return Supervisor(service, notifier, embedded).run
    return WebWorker(service, notifier=notifier, embedded=embedded).run


def _open(texts: Sequence[str], option: str, stack: ExitStack) -> list[socket.socket]:
    """Open listening sockets; `stack` closes them and removes their files."""
    listeners = open_listeners([parse_address(text) for text in texts], option)
    for listener in listeners:
        stack.callback(close_listener, listener)
    return listeners


def _url(listener: socket.socket) -> str:
    address = address_of(listener)
    return str(address) if address.path else f"http://{address}"


def _print_ready(urls: list[str]) -> None:
    click.echo(f"fibweb: ready on {', '.join(urls)}")
    if urls[0].startswith("http:"):
        click.echo(f"Try it:  curl {urls[0]}/fib/10")
