"""HAProxy in front of several servers: one that is down gets no requests, and none is lost."""

import contextlib
import http.client
import itertools
import json
import socket
import socketserver
import struct
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fibclient import FibClient, RequestRefused, ServerUnreachable
from tests.support.balancers import (
    Behaviour,
    FakeFibweb,
    haproxy,
    server_rows,
    servers_checked,
    servers_up,
    tell,
)
from tests.support.fibweb_process import get, start_fibweb
from tests.support.prometheus import free_port
from tests.support.servers import DEADLINE_SECONDS, RunningServer
from tests.support.waiting import wait_until

Serve = Callable[..., RunningServer]
Program = Callable[[str], str]

ALL = {"a", "b", "c"}

RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: a socket that is closed is reset."""

GIANTS_SECONDS = 8.0
"""Two checks that fail take a server out, after two seconds each at the latest."""


def addresses(*values: str) -> dict[str, str]:
    """Return the environment variables with the addresses of the servers."""
    return {f"FIB_{name}": value for name, value in zip("ABC", values, strict=False)}


def test_killed_and_drained_fibserver_loses_no_reply(
    serve: Serve, program: Program, tmp_path: Path
) -> None:
    """While one fibserver is killed and returns, and another is drained, all replies are right."""
    path = program("haproxy")
    servers = [serve() for _ in "abc"]
    bind = f"127.0.0.1:{free_port()}"
    with (
        haproxy(
            path, "fibserver", tmp_path, bind, addresses(*(each.address for each in servers))
        ) as control,
        FibClient(bind, cache_bytes=0) as client,
    ):
        wait_until(lambda: servers_up(control) == ALL, "all are up")
        for n in range(50):
            assert client.number(n + 100) > 0
        servers[0].stop(9)
        for n in range(50):
            assert len(client.read(0, n, "text").split()) == n
        wait_until(lambda: servers_up(control) == {"b", "c"}, "one is out")
        serve("--listen", servers[0].address)
        wait_until(lambda: servers_up(control) == ALL, "it is back")
        tell(control, "set server fibservers/b state drain")
        assert servers_up(control) == {"a", "c"}
        assert client.number(10) == 55


def test_fibservers_with_a_password(serve: Serve, program: Program, tmp_path: Path) -> None:
    """The checks succeed without the password; clients send it to the fibserver."""
    path = program("haproxy")
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    servers = [serve(FIBSERVER_PASSWORD_FILE=str(secret)) for _ in "abc"]
    bind = f"127.0.0.1:{free_port()}"
    targets = addresses(*(each.address for each in servers))
    with haproxy(path, "fibserver", tmp_path, bind, targets) as control:
        wait_until(lambda: servers_checked(control) == ALL, "all are checked, and well")
        with FibClient(bind, password="s3cret", cache_bytes=0) as client:
            assert client.number(10) == 55
        with FibClient(bind) as stranger, pytest.raises(RequestRefused, match="NOAUTH"):
            stranger.number(10)


class UnhealthyServer(socketserver.ThreadingTCPServer):
    """Server that replies to PING like a fibserver with hanging workers while it is unhealthy."""

    allow_reuse_address = True
    daemon_threads = True
    is_ill = False

    class UnhealthyHandler(socketserver.StreamRequestHandler):
        """One check."""

        def handle(self) -> None:
            """Reply, and close the connection."""
            assert isinstance(self.server, UnhealthyServer)
            with contextlib.suppress(OSError):  # HAProxy resets the connection when it has seen
                self.rfile.readline()
                self.wfile.write(b"-BUSY no worker\r\n" if self.server.is_ill else b"+PONG\r\n")


def test_haproxy_skips_unhealthy_fibserver(serve: Serve, program: Program, tmp_path: Path) -> None:
    """A fibserver whose PING reports an error gets no requests until it is healthy."""
    path = program("haproxy")
    well = serve()
    bind = f"127.0.0.1:{free_port()}"
    with UnhealthyServer(("127.0.0.1", 0), UnhealthyServer.UnhealthyHandler) as ailing:
        thread = threading.Thread(target=ailing.serve_forever)
        thread.start()
        targets = addresses(well.address, f"127.0.0.1:{ailing.server_address[1]}", well.address)
        try:
            with haproxy(path, "fibserver", tmp_path, bind, targets) as control:
                wait_until(lambda: servers_checked(control) == ALL, "all are well")
                ailing.is_ill = True
                wait_until(lambda: servers_up(control) == {"a", "c"}, "it is out")
                ailing.is_ill = False
                wait_until(lambda: servers_up(control) == ALL, "it is well")
        finally:
            ailing.shutdown()
            thread.join()


def test_killed_fibweb_loses_no_request(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    """While one fibweb is killed, each request gets a response: HAProxy retries it elsewhere."""
    path = program("haproxy")
    webs = [
        start_fibweb(tmp_path / f"fibweb-{name}.log", "--servers", server.address)
        for name in "abc"
    ]
    bind = f"127.0.0.1:{free_port()}"
    targets = addresses(*(f"127.0.0.1:{web.port}" for web in webs))
    try:
        with haproxy(path, "fibweb", tmp_path, bind, targets) as control:
            wait_until(lambda: servers_up(control) == ALL, "all are up")
            for n in range(120):
                if n == 40:
                    webs[2].stop(9)
                url = f"http://{bind}/fib/{n}"
                with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
                    assert json.load(reply)["N"] == n
            wait_until(lambda: servers_up(control) == {"a", "b"}, "one is out")
    finally:
        for web in webs:
            web.stop()


# Overload.


def ask(address: str, target: str) -> tuple[int, str | None]:
    """Return the status code and Retry-After of a response."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", target)
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.headers["Retry-After"]
    finally:
        connection.close()


def test_haproxy_passes_on_503(program: Program, tmp_path: Path) -> None:
    """In a storm each 503 is passed on without a retry, and no fibweb is marked down."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    targets = [f"/number/{n}" for n in range(400)]
    with ExitStack() as stack:
        webs = [stack.enter_context(FakeFibweb(Behaviour.OVERLOADED)) for _ in "abc"]
        known = addresses(*(web.address for web in webs))
        control = stack.enter_context(haproxy(path, "fibweb", tmp_path, bind, known))
        wait_until(lambda: servers_checked(control) == ALL, "all are checked")
        with ThreadPoolExecutor(40) as threads:
            replies = set(threads.map(lambda target: ask(bind, target), targets))
        assert replies == {(503, "7")}
        asked = sum((web.requests for web in webs), Counter[str]())
        assert asked == Counter(targets)
        for row in server_rows(control).values():
            assert row["status"] == "UP"
            assert [row[name] for name in ("chkdown", "wretr", "wredis")] == ["0"] * 3


def test_haproxy_retries_dropped_connection(program: Program, tmp_path: Path) -> None:
    """A request whose fibweb closes the connection is sent to the next one."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    with FakeFibweb(Behaviour.DROP) as bad, FakeFibweb(Behaviour.ANSWER) as good:
        known = addresses(bad.address, good.address, good.address)
        with haproxy(path, "fibweb", tmp_path, bind, known) as control:
            wait_until(lambda: servers_checked(control) == ALL, "all are checked")
            assert {ask(bind, f"/fib/{n}") for n in range(30)} == {(200, None)}
        assert bad.requests


@pytest.mark.parametrize("is_reset", [False, True])
def test_disconnected_client_closes_fibweb_connection(
    program: Program, tmp_path: Path, is_reset: bool
) -> None:
    """The connection to fibweb is closed with the client's; the request is not retried."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    host, _, port = bind.rpartition(":")
    with FakeFibweb(Behaviour.WAIT) as web:
        known = addresses(*[web.address] * 3)
        with haproxy(path, "fibweb", tmp_path, bind, known) as control:
            wait_until(lambda: servers_checked(control) == ALL, "all are checked")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /number/1 HTTP/1.1\r\nHost: fib\r\n\r\n")
                wait_until(lambda: web.requests["/number/1"] == 1, "the request")
                if is_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
            wait_until(lambda: web.departed == 1, "the end of the connection")
            assert web.requests == {"/number/1": 1}


def test_haproxy_without_fibweb_is_503(program: Program, tmp_path: Path) -> None:
    """Without any fibweb HAProxy responds 503 with Retry-After."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    with haproxy(path, "fibweb", tmp_path, bind, addresses(*["127.0.0.1:1"] * 3)) as control:
        wait_until(lambda: not servers_up(control), "all are out")
        assert ask(bind, "/fib/3") == (503, "1")


def test_requests_beyond_connections_wait(program: Program, tmp_path: Path) -> None:
    """Beyond the connections that a fibweb accepts, requests wait in HAProxy for a short time."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    host, _, port = bind.rpartition(":")
    with FakeFibweb(Behaviour.WAIT) as web, ExitStack() as stack:
        known = addresses(*[web.address] * 3)
        control = stack.enter_context(haproxy(path, "fibweb", tmp_path, bind, known))
        wait_until(lambda: servers_checked(control) == ALL, "all are checked")
        assert {row["slim"] for row in server_rows(control).values()} == {"800"}
        for name in ALL:
            tell(control, f"set maxconn server fibwebs/{name} 1")
            client = socket.create_connection((host, int(port)))
            stack.callback(client.close)
            client.sendall(b"GET /number/1 HTTP/1.1\r\nHost: fib\r\n\r\n")
        wait_until(lambda: web.requests["/number/1"] == 3, "all are in use")
        assert ask(bind, "/fib/3") == (503, "1")
        assert web.requests == {"/number/1": 3}


def test_haproxy_keeps_its_fibwebs_through_the_giants(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    """While forty clients request giant numbers, no fibweb is marked down."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    numbers, is_over = itertools.count(9_000_000), threading.Event()

    def ask_for_giants() -> set[int]:
        codes = set()
        while not is_over.is_set():
            codes.add(ask(bind, f"/number/{next(numbers)}?format=text")[0])
        return codes

    with ExitStack() as stack:
        webs = []
        for name in "ab":
            log = tmp_path / f"fibweb-{name}.log"
            webs.append(start_fibweb(log, "--servers", server.address))
            stack.callback(webs[-1].stop)
        known = addresses(*(f"127.0.0.1:{webs[n].port}" for n in (0, 1, 1)))
        control = stack.enter_context(haproxy(path, "fibweb", tmp_path, bind, known))
        wait_until(lambda: servers_checked(control) == ALL, "all are checked")
        for web in webs:
            assert get(web, "/fib/3")
        threads = stack.enter_context(ThreadPoolExecutor(40))
        giants = [threads.submit(ask_for_giants) for _ in range(40)]
        end = time.monotonic() + GIANTS_SECONDS
        try:
            while time.monotonic() < end:
                assert ask(bind, "/fib/3") == (200, None)
        finally:
            is_over.set()
        assert set().union(*(each.result() for each in giants)) <= {200, 503}
        assert {row["chkdown"] for row in server_rows(control).values()} == {"0"}


@pytest.mark.parametrize("is_reset", [False, True])
def test_how_a_client_of_fibserver_ends(program: Program, tmp_path: Path, is_reset: bool) -> None:
    """A reset, by which fibclient cancels, is passed on as a reset, and a half-close as such."""
    path = program("haproxy")
    bind = f"127.0.0.1:{free_port()}"
    host, _, port = bind.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        # The listener replies to no checks, so the server is set to up by command.
        with haproxy(path, "fibserver", tmp_path, bind, addresses(*[address] * 3)) as control:
            for name in ALL:
                tell(control, f"disable health fibservers/{name}")
                tell(control, f"set server fibservers/{name} health up")
            with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as client:
                client.sendall(b"FIB.NUMBER 9000000\r\n")
                server = accept_request(listener, b"FIB")
                if is_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
                    client.close()
                    with server, pytest.raises(ConnectionResetError):
                        server.recv(1)
                    return
                client.shutdown(socket.SHUT_WR)
                with server:
                    assert server.recv(1) == b""
                    server.sendall(b"+late\r\n")
                assert client.recv(100) == b"+late\r\n"


def accept_request(listener: socket.socket, start: bytes) -> socket.socket:
    """Accept connections until one sends a request instead of a check; return it, read."""
    listener.settimeout(DEADLINE_SECONDS)
    while True:
        server, _ = listener.accept()
        server.settimeout(DEADLINE_SECONDS)
        if server.recv(100).startswith(start):
            return server
        server.close()


def certificates(openssl: str, folder: Path) -> None:
    """Create a CA, and certificates for a node and its clients, as in the guide."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def run(*words: str) -> None:
        command = [openssl, *words]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL, timeout=30)

    run("req", "-x509", *key, "-subj", "/CN=fib CA", "-keyout", "ca.key", "-out", "ca.pem")
    for name, host in (("node", "a.example.org"), ("client", "web.example.org")):
        asked = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        run("req", *key, *asked, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ["-in", f"{name}.csr", "-copy_extensions", "copy", "-out", f"{name}.crt"]
        run("x509", "-req", *signed, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        parts = [(folder / f"{name}.{part}").read_text() for part in ("crt", "key")]
        (folder / f"{name}.pem").write_text("".join(parts))


def test_tls_between_hosts(serve: Serve, program: Program, tmp_path: Path) -> None:
    """Numbers are sent through TLS; a client without a certificate is rejected."""
    path, openssl = program("haproxy"), program("openssl")
    certificates(openssl, tmp_path)
    server = serve()
    node, edge, bare = (f"127.0.0.1:{free_port()}" for _ in range(3))
    known = {"FIB_CERTS": str(tmp_path), "FIB_A_NAME": "a.example.org", "FIB_B": "127.0.0.1:1"}
    with (
        haproxy(path, "tls-node", tmp_path, node, {**known, "FIB_A": server.address}),
        haproxy(path, "tls-edge", tmp_path, edge, {**known, "FIB_A": node}),
        FibClient(edge, cache_bytes=0) as client,
    ):
        assert client.first(10)[-1] == 34
        assert len(client.read(0, 5000, "json")) == client.size(0, 5000, "json")
        with (
            FibClient(node, timeout_seconds=5, max_retries=0) as plain,
            pytest.raises(ServerUnreachable),
        ):
            plain.ping()
    other = {**known, "FIB_A": node, "FIB_A_NAME": "another.example.org"}
    with (
        haproxy(path, "tls-node", tmp_path, node, {**known, "FIB_A": server.address}),
        haproxy(path, "tls-edge", tmp_path, bare, other),
        FibClient(bare, timeout_seconds=5, max_retries=0) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.ping()
