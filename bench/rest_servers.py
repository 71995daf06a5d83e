"""The servers of `bench/rest.py`: fibweb, and each of the yardsticks, on free ports."""

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
from load import Served
from servers import ROOT, running, wait_for

__all__ = ["check", "fibweb", "flask", "nginx", "stock", "uvicorn"]

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
    """Return the body at a path, None if nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=POLL_SECONDS)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        body = reply.read()
        return body if reply.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()


def check(server: Served, counts: Collection[int], answers: dict[int, Any]) -> None:
    """Fail unless a server answers as another did; this also has it ready for what is measured.

    Args:
        server: the server.
        counts: of the first n numbers.
        answers: of the other.
    """
    for n in counts:
        body = get(server.port, f"/fib/{n}")
        if body is None or json.loads(body) != answers[n]:
            raise click.ClickException(f"the server at port {server.port} answers {n} wrongly")


@contextmanager
def _served(command: list[str], port: int) -> Iterator[Served]:
    """Run a server until the context ends; it is given once it answers."""
    with tempfile.TemporaryDirectory(prefix="bench-rest-") as folder:
        log = Path(folder, "log")
        with running(command, log, BENCH) as child:
            wait_for(child, log, lambda: get(port, "/fib/10"))
            yield Served(port, child.pid)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def fibweb(fibserver_port: int, processes: int = 1) -> Iterator[Served]:
    """Run fibweb in front of a fibserver."""
    port = _free_port()
    command = [sys.executable, "-m", "fibweb", "--listen", f"127.0.0.1:{port}"]
    command += ["--servers", f"127.0.0.1:{fibserver_port}", "--processes", str(processes)]
    with _served(command, port) as served:
        yield served


@contextmanager
def stock() -> Iterator[Served]:
    """Run waitress as it comes."""
    port = _free_port()
    with _served([sys.executable, str(BENCH / "yardsticks.py"), str(port)], port) as served:
        yield served


@contextmanager
def flask() -> Iterator[Served]:
    """Run Flask under gunicorn, one worker of the default kind."""
    port = _free_port()
    with _served([*GUNICORN, "--workers", "1", "--bind", f"127.0.0.1:{port}"], port) as served:
        yield served


@contextmanager
def uvicorn() -> Iterator[Served]:
    """Run Falcon under uvicorn, with its fastest loop and parser."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--app-dir", str(BENCH)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command += ["--log-level", "warning", "--port", str(port), "yardsticks:asgi_app"]
    with _served(command, port) as served:
        yield served


@contextmanager
def nginx(answers: dict[int, bytes], *, sendfile: bool) -> Iterator[Served]:
    """Run nginx, one worker, that serves answers as files.

    Args:
        answers: the bodies, by how many numbers they have.
        sendfile: whether the kernel is to copy them; which is faster depends on the machine.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the worker is another user
        (folder / "fib").mkdir()
        for n, body in answers.items():
            (folder / "fib" / str(n)).write_bytes(body)
        switch = "on" if sendfile else "off"
        text = NGINX.format(folder=folder, port=port, sendfile=switch)
        (folder / "nginx.conf").write_text(text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        with _served([program, "-c", str(folder / "nginx.conf"), "-p", name], port) as served:
            yield served
