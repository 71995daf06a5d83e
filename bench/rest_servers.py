"""Servers of `bench/rest.py` on free ports: fibweb and the baselines."""

import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import click
from load import ServerUnderTest
from servers import ROOT, running, wait_for

__all__ = ["check", "fibweb", "flask", "get", "granian", "nginx", "stock", "uvicorn"]

BENCH = ROOT / "bench"
POLL_SECONDS = 30
GUNICORN = [sys.executable, "-m", "gunicorn", "--chdir", str(BENCH), "yardsticks:flask_app()"]

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  large_client_header_buffers 4 16k;
  default_type application/json;
  open_file_cache max=100 inactive=1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    sendfile {sendfile};
    tcp_nopush on;
  }}
}}
"""


def get(port: int, path: str) -> bytes | None:
    """Return the body at a path; None without a response or if its status is not 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=POLL_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return body if response.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()


def check(server: ServerUnderTest, counts: Collection[int], expected: dict[int, Any]) -> None:
    """Compare the responses of a server with the expected ones, and so warm it up.

    Args:
        server: Server to check.
        counts: Values of n, for the first n numbers.
        expected: Decoded responses by n.

    Raises:
        click.ClickException: A response is missing or wrong.
    """
    for n in counts:
        body = get(server.port, f"/fib/{n}")
        if body is None or json.loads(body) != expected[n]:
            raise click.ClickException(f"port {server.port}: wrong response to /fib/{n}")


@contextmanager
def _run(command: list[str], port: int, directory: Path = BENCH) -> Iterator[ServerUnderTest]:
    """Run a server in a directory; yield it once it responds."""
    with tempfile.TemporaryDirectory(prefix="bench-rest-") as folder:
        log = Path(folder, "log")
        with running(command, log, directory) as child:
            wait_for(child, log, lambda: get(port, "/fib/10"))
            yield ServerUnderTest(port, child.pid)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def fibweb(
    fibserver_port: int, processes: int = 1, checkout: Path = ROOT
) -> Iterator[ServerUnderTest]:
    """Run fibweb in front of a fibserver.

    Args:
        fibserver_port: Port of the fibserver on 127.0.0.1.
        processes: Number of web workers.
        checkout: Directory with its source.
    """
    port = _free_port()
    command = [sys.executable, "-m", "fibweb", "--listen", f"127.0.0.1:{port}"]
    command += ["--servers", f"127.0.0.1:{fibserver_port}", "--processes", str(processes)]
    with _run(command, port, checkout) as server:
        yield server


@contextmanager
def stock() -> Iterator[ServerUnderTest]:
    """Run waitress without changes."""
    port = _free_port()
    with _run([sys.executable, str(BENCH / "yardsticks.py"), str(port)], port) as server:
        yield server


@contextmanager
def flask() -> Iterator[ServerUnderTest]:
    """Run Flask under gunicorn with one worker of the default class."""
    port = _free_port()
    with _run([*GUNICORN, "--workers", "1", "--bind", f"127.0.0.1:{port}"], port) as server:
        yield server


@contextmanager
def uvicorn() -> Iterator[ServerUnderTest]:
    """Run Falcon under uvicorn, with its fastest loop and parser."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--app-dir", str(BENCH)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command += ["--log-level", "warning", "--port", str(port), "yardsticks:asgi_app"]
    with _run(command, port) as server:
        yield server


@contextmanager
def granian() -> Iterator[ServerUnderTest]:
    """Run granian with one worker, whose input and output have a thread of their own in Rust."""
    port = _free_port()
    command = [sys.executable, "-m", "granian", "--interface", "rsgi", "--factory"]
    command += ["--workers", "1", "--http", "1", "--no-ws", "--loop", "uvloop"]
    command += ["--log-level", "warning", "--host", "127.0.0.1", "--port", str(port)]
    with _run([*command, "yardsticks:rsgi_app"], port) as server:
        yield server


@contextmanager
def nginx(bodies: dict[int, bytes], *, sendfile: bool) -> Iterator[ServerUnderTest]:
    """Run nginx with one worker that serves bodies as files.

    Args:
        bodies: Response bodies by n.
        sendfile: Whether nginx uses sendfile(2); whether that is faster depends on the machine.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the worker runs as another user
        (folder / "fib").mkdir()
        for n, body in bodies.items():
            (folder / "fib" / str(n)).write_bytes(body)
        switch = "on" if sendfile else "off"
        text = NGINX.format(folder=folder, port=port, sendfile=switch)
        (folder / "nginx.conf").write_text(text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        with _run([program, "-c", str(folder / "nginx.conf"), "-p", name], port) as server:
            yield server
