"""Load balancers with the configurations of deploy/, on other addresses."""

import csv
import getpass
import grp
import os
import select
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.servers import DEADLINE_SECONDS
from tests.support.waiting import wait_until

__all__ = [
    "DEPLOY",
    "Behaviour",
    "FakeFibweb",
    "haproxy",
    "listening",
    "run_nginx",
    "server_rows",
    "servers_checked",
    "servers_up",
    "tell",
]

DEPLOY = Path(__file__).parents[2] / "deploy"

MAIN = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/fib.conf;
}}
"""


class Behaviour(Enum):
    """Behaviour of a fake fibweb."""

    ANSWER = "200"
    OVERLOADED = "503 with Retry-After"
    DROP = "close the connection"
    WAIT = "nothing until the client leaves"


class FakeFibweb(ThreadingHTTPServer):
    """HTTP server that behaves like a ready fibweb with one behaviour; as a context it serves.

    Attributes:
        address: Its address, as HOST:PORT.
        behaviour: What it does with requests.
        requests: Number of requests by target, without probes.
        departed: Number of clients that disconnected before their response.
        gate: While it is not set, no request but probes gets a response.
    """

    daemon_threads = True
    request_queue_size = 128

    class Handler(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"
        server: "FakeFibweb"

        def do_GET(self) -> None:
            """Handle a request according to the behaviour."""
            web = self.server
            if self.path == "/readyz":
                return self._send(200)
            with web.lock:
                web.requests[self.path] += 1
            web.gate.wait(DEADLINE_SECONDS)
            if web.behaviour is Behaviour.ANSWER:
                return self._send(200)
            if web.behaviour is Behaviour.OVERLOADED:
                return self._send(503, {"Retry-After": "7"})
            self.close_connection = True
            if web.behaviour is Behaviour.WAIT:
                poller = select.poll()
                poller.register(self.connection, select.POLLRDHUP)
                if poller.poll(DEADLINE_SECONDS * 1000):
                    with web.lock:
                        web.departed += 1
            return None

        def _send(self, code: int, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"body\n")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.behaviour = behaviour
        self.requests: Counter[str] = Counter()
        self.departed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> "FakeFibweb":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Ignore balancers that reset connections."""


def listening(address: str) -> bool:
    """Return whether a connection to HOST:PORT is accepted."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def haproxy(
    program: str, name: str, folder: Path, bind: str, variables: Mapping[str, str]
) -> Iterator[Path]:
    """Run HAProxy until the context ends; yield the path of its admin socket.

    Args:
        program: Path of the program.
        name: Name of the configuration in deploy/haproxy.
        folder: Directory for its log and socket.
        bind: HOST:PORT to listen on.
        variables: Further environment variables for the configuration.
    """
    control = folder / f"{name}.sock"
    own = {"FIB_BIND": bind, "FIB_SOCKET": str(control)}
    own |= {"FIB_USER": getpass.getuser(), "FIB_GROUP": grp.getgrgid(os.getgid()).gr_name}
    environment = {**os.environ, **own, **variables}
    path = DEPLOY / "haproxy" / f"{name}.cfg"
    checked = subprocess.run(
        [program, "-c", "-f", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert checked.stdout == "Configuration file is valid\n", checked.stdout  # and no warning
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(
            [program, "-db", "-f", str(path)], env=environment, stdout=log, stderr=log
        ) as child,
    ):
        try:
            wait_until(lambda: listening(bind), "HAProxy listens")
            if "stats socket" in path.read_text():
                wait_until(control.exists, "HAProxy can be told something")
            yield control
        finally:
            child.terminate()
            child.wait(DEADLINE_SECONDS)


@contextmanager
def run_nginx(program: str, folder: Path, text: str, address: str) -> Iterator[Path]:
    """Run nginx until the context ends; yield the path of its error log.

    Args:
        program: Path of the program.
        folder: Empty directory for all files.
        text: Configuration of its servers.
        address: HOST:PORT on which they listen.
    """
    (folder / "fib.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=getpass.getuser()))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run(
        [*command, "-t"], stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            wait_until(lambda: listening(address), "nginx listens")
            yield folder / "error.log"
        finally:
            child.terminate()
            child.wait(DEADLINE_SECONDS)


def tell(control: Path, command: str) -> str:
    """Send a command to the admin socket, and return HAProxy's reply."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_SECONDS)
        sock.connect(str(control))
        sock.sendall(command.encode() + b"\n")
        return sock.makefile("rb").read().decode()


def servers_up(control: Path) -> set[str]:
    """Return the names of the servers that HAProxy sends requests to."""
    return {name for name, row in server_rows(control).items() if row["status"].startswith("UP")}


def servers_checked(control: Path) -> set[str]:
    """Return the names of the servers whose last check succeeded."""
    return {
        name for name, row in server_rows(control).items() if row["check_status"].endswith("L7OK")
    }


def server_rows(control: Path) -> dict[str, dict[str, str]]:
    """Return HAProxy's statistics of each server, by column."""
    header, *rows = tell(control, "show stat").strip().splitlines()
    table = csv.DictReader([header.removeprefix("# "), *rows])
    return {row["svname"]: row for row in table if row["svname"] not in ("FRONTEND", "BACKEND")}
