"""The `fibweb` command."""

import logging
import signal
import socket
import sys
from contextlib import ExitStack

import click
from waitress.server import create_server

from fibclient import FibClient
from fibclient.address import DEFAULT_ADDRESS, Address, parse_address
from fibweb.app import create_app
from fibweb.embedded import EmbeddedServerError, embedded_server

__all__ = ["main"]

DEFAULT_LISTEN = "127.0.0.1:8080"
EXIT_FAILED_START = 2
CONNECTION_LIMIT = 1000
"""Waitress's default of 100 lets that many idle browsers block everyone else."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT")
@click.option(
    "--servers",
    default=DEFAULT_ADDRESS,
    show_default=True,
    metavar="ADDRESS",
    help="The fibserver to ask: HOST:PORT or unix:/path.",
)
@click.option("--threads", default=4, show_default=True, metavar="N", type=click.IntRange(1, 256))
@click.option("--embedded", is_flag=True, help="Start a fibserver of its own, and ask that.")
@click.version_option(package_name="fibservice", prog_name="fibweb")
def main(listen: str, servers: str, threads: int, embedded: bool) -> None:
    """Serve Fibonacci numbers over HTTP.

    Try it:  fibweb --embedded  and then  curl http://127.0.0.1:8080/fib/10
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Waitress ends its loop on SystemExit, and what was opened here is closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with ExitStack() as stack:
            listener = stack.enter_context(_open_listener(listen))
            if embedded:
                servers = stack.enter_context(embedded_server())
            client = stack.enter_context(FibClient(servers, max_connections=threads))
            server = create_server(
                create_app(client),
                sockets=[listener],
                threads=threads,
                connection_limit=CONNECTION_LIMIT,
                # The default, select(), dies at descriptor 1,024.
                asyncore_use_poll=True,
            )
            url = f"http://{Address(*listener.getsockname()[:2])}"
            click.echo(f"fibweb: ready on {url}\nTry it:  curl {url}/fib/10")
            server.run()
    except (ValueError, OSError, EmbeddedServerError) as error:
        click.echo(f"fibweb: {error}", err=True)
        sys.exit(EXIT_FAILED_START)


def _open_listener(text: str) -> socket.socket:
    address = parse_address(text)
    if address.path:
        raise ValueError(f"address {text!r}: fibweb listens on HOST:PORT")
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        # create_server() puts the address into the text, as a tuple.
        reason = str(error.strerror).partition(" (")[0]
        raise OSError(f"cannot listen on {address}: {reason}") from error
