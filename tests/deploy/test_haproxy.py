"""HAProxy in front of several servers: who is out gets nothing, and nobody notices."""

import contextlib
import json
import socketserver
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fibclient import FibClient, RequestRefused, ServerUnreachable
from tests.deploy.balancers import haproxy, servers_checked, servers_up, tell
from tests.deploy.prometheus import free_port
from tests.fibweb.running import start_fibweb
from tests.servers import DEADLINE_SECONDS, RunningServer
from tests.waiting import wait_until

Serve = Callable[..., RunningServer]
Program = Callable[[str], str]

ALL = {"a", "b", "c"}


def addresses(*values: str) -> dict[str, str]:
    """Return what the configurations call their servers."""
    return {f"FIB_{name}": value for name, value in zip("ABC", values, strict=False)}


def test_fibservers(serve: Serve, program: Program, tmp_path: Path) -> None:
    """One is killed and comes back, one is drained: all requests are answered rightly."""
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
    """They are well without HAProxy knowing it; clients say it to the server behind."""
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


class Ailing(socketserver.ThreadingTCPServer):
    """Answers PING as a fibserver does whose workers hang, while it is ill."""

    allow_reuse_address = True
    daemon_threads = True
    is_ill = False

    class Handler(socketserver.StreamRequestHandler):
        """One check."""

        def handle(self) -> None:
            """Answer, and close the connection."""
            assert isinstance(self.server, Ailing)
            with contextlib.suppress(OSError):  # HAProxy resets the connection when it has seen
                self.rfile.readline()
                self.wfile.write(b"-BUSY no worker\r\n" if self.server.is_ill else b"+PONG\r\n")


def test_a_fibserver_that_is_not_well(serve: Serve, program: Program, tmp_path: Path) -> None:
    """It says so when asked how it is, and gets nothing until it is well."""
    path = program("haproxy")
    well = serve()
    bind = f"127.0.0.1:{free_port()}"
    with Ailing(("127.0.0.1", 0), Ailing.Handler) as ailing:
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


def test_fibwebs(server: RunningServer, program: Program, tmp_path: Path) -> None:
    """One is killed: each request is answered, since any may be asked again elsewhere."""
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


def certificates(openssl: str, folder: Path) -> None:
    """Make a CA, and certificates for a node and for its clients, as the guide says."""
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
    """Numbers go through TLS with certificates on both sides; who has none is turned away."""
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
