"""Serving process over real HTTP: start, reload, monitoring and stop."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fibserver.test_operating import Manager
from tests.support.expected import digits
from tests.support.fibweb_process import COMMAND, get, metrics
from tests.support.servers import DEADLINE_SECONDS, RunningServer

ServeWeb = Callable[..., RunningServer]
Program = Callable[[str], str]

LARGE = "/fib/20000"
"""42 MB: more than the socket buffers hold, and less than the cache."""


@contextmanager
def slow_download(web: RunningServer) -> Iterator[http.client.HTTPResponse]:
    """Yield a response whose header has been read and whose body is still being sent."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=DEADLINE_SECONDS)
    connection.request("GET", LARGE)
    with connection.getresponse() as reply:
        yield reply
    connection.close()


def assert_is_whole(download: http.client.HTTPResponse) -> None:
    """Read the rest of a download, and compare its size with Content-Length."""
    announced = int(download.headers["Content-Length"])
    assert announced > 40_000_000
    assert len(download.read()) == announced


def log_lines(web: RunningServer) -> list[str]:
    """Return the lines of the access log."""
    return [line for line in web.log.read_text().splitlines() if "fibweb.access" in line]


# Routes.


def test_numbers_over_http(server: RunningServer, serve_web: ServeWeb) -> None:
    """A request passes through waitress, Falcon, client, acceptor, worker and shared memory."""
    web = serve_web("--servers", server.address)
    body = get(web, "/fib/5000")
    assert json.loads(body) == {"N": 5000, "result": digits(0, 5000)}


def test_all_routes_are_served(server: RunningServer, serve_web: ServeWeb) -> None:
    """Page, numbers and operational routes are served; an error is a problem detail."""
    web = serve_web("--servers", server.address)
    assert get(web, "/").startswith(b"<!doctype html>")
    assert get(web, "/healthz") == b"alive\n"
    assert get(web, "/readyz") == b"ready\n"
    assert json.loads(get(web, "/openapi.json"))["openapi"].startswith("3.1")
    assert json.loads(get(web, "/number/10")) == {"n": 10, "value": "55"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(web, "/fib/-1", {"X-Request-ID": "mine"})
    with caught.value as error:
        assert error.code == 400
        assert json.loads(error.read())["request_id"] == "mine"


def test_settings_are_in_effect(serve: ServeWeb, serve_web: ServeWeb, tmp_path: Path) -> None:
    """Password, allowed origins and cache size of the settings are in effect."""
    secret = tmp_path / "password"
    secret.write_text("öffne dich\n")
    fibserver = serve(FIBSERVER_PASSWORD_FILE=str(secret))
    web = serve_web(
        *("--servers", fibserver.address),
        FIBWEB_PASSWORD_FILE=str(secret),
        FIBWEB_ALLOWED_ORIGINS="https://a.example",
        FIBWEB_CACHE_BYTES="0",
    )
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=DEADLINE_SECONDS)
    for _ in range(3):
        connection.request("GET", "/fib/10", headers={"Origin": "https://a.example"})
        reply = connection.getresponse()
        assert json.loads(reply.read())["N"] == 10
        assert reply.headers["Access-Control-Allow-Origin"] == "https://a.example"
    connection.close()
    assert get(web, "/readyz") == b"ready\n"
    assert metrics(web)["fibweb_cache_bytes"] == 0


def test_http_on_unix_socket(server: RunningServer, serve_web: ServeWeb, tmp_path: Path) -> None:
    """HTTP is served on a Unix socket, whose file is removed at the end."""
    path = tmp_path / "fibweb.sock"
    web = serve_web("--servers", server.address, "--listen", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_SECONDS)
        sock.connect(str(path))
        sock.sendall(b"GET /fib/3 HTTP/1.0\r\n\r\n")
        assert sock.makefile("rb").read().endswith(b'"0","1","1"]}')
    assert web.stop() == 0
    assert not path.exists()


# The log.


def test_access_log_has_line_per_request(server: RunningServer, serve_web: ServeWeb) -> None:
    """The access log has one line per request, also for errors and cached responses."""
    web = serve_web("--servers", server.address, FIBWEB_ACCESS_LOG="true")
    for _ in range(3):
        get(web, "/fib/10")
    with pytest.raises(urllib.error.HTTPError):
        get(web, "/fib/x", {"X-Request-ID": "find-me"})
    web.wait_for_log("find-me")
    lines = log_lines(web)
    assert len(lines) == 4
    for line in lines[:3]:
        assert re.search(r'127\.0\.0\.1 "GET /fib/10" 200 65 [\d.]+ \w+ [\w-]+ "Python', line)
    assert re.search(r'"GET /fib/x" 400 \d+ [\d.]+ inline find-me', lines[3])
    web.stop()
    assert len(log_lines(web)) == 4


def test_ipv4_client_of_dual_stack_socket_is_logged(
    server: RunningServer, serve_web: ServeWeb
) -> None:
    """IPv4 clients are logged with their IPv4 address."""
    web = serve_web("--servers", server.address, "--listen", "[::]:0", FIBWEB_ACCESS_LOG="true")
    with socket.create_connection(("127.0.0.1", web.port), DEADLINE_SECONDS) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"alive\n")
    web.wait_for_log("GET /healthz")
    assert ' 127.0.0.1 "GET /healthz" 200' in log_lines(web)[0]


def test_failures_are_logged(serve_web: ServeWeb) -> None:
    """Failures are logged with the request id, even without an access log."""
    web = serve_web("--servers", "127.0.0.1:1", FIBWEB_TIMEOUT="0.2")
    with pytest.raises(urllib.error.HTTPError):
        get(web, "/fib/10", {"X-Request-ID": "lost"})
    web.wait_for_log(" lost ")
    assert "WARNING fibweb.stats.access_log: failed: " in web.log.read_text()


# Reload.


def test_sighup_reloads_web_worker_settings(
    server: RunningServer, serve_web: ServeWeb, tmp_path: Path
) -> None:
    """SIGHUP applies the reloadable settings, logs the others, and rejects invalid ones."""
    config = tmp_path / "fibweb.toml"
    config.write_text("")
    web = serve_web("--config", str(config), "--servers", server.address)
    config.write_text('access_log = true\nlog_format = "json"\nthreads = 7\n')
    os.kill(web.process.pid, signal.SIGHUP)
    web.wait_for_log("a restart is needed for: threads")
    assert "changed: access_log, log_format" in web.log.read_text()
    get(web, "/fib/10", {"X-Request-ID": "after"})
    web.wait_for_log('"request_id": "after"')
    config.write_text('access_log = false\nlog_level = "loud"\n')
    os.kill(web.process.pid, signal.SIGHUP)
    web.wait_for_log("not reloaded: log_level: 'loud': must be")
    get(web, "/fib/10", {"X-Request-ID": "later"})
    web.wait_for_log('"request_id": "later"')


# Shortages.


def test_many_threads_and_few_descriptors(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    """Connections to fibservers leave enough descriptors for clients."""
    command = [program("prlimit"), "--nofile=96:96", *COMMAND, "--listen", "127.0.0.1:0"]
    command += ["--servers", server.address, "--threads", "200"]
    environment = {"FIBWEB_MAX_CONNECTIONS": "1000"}
    web = RunningServer(
        command, tmp_path / "log", environment, re.compile(r"fibweb: ready on ([^\s,]+)")
    )
    try:
        web.wait_for_log("max_connections lowered to 24 by the limit of open files, 96")
        with ExitStack() as stack:
            clients = [
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", web.port), DEADLINE_SECONDS)
                )
                for _ in range(20)
            ]
            for index, client in enumerate(clients):  # large numbers, each of which needs a worker
                request = f"GET /number/{900_000 + index} HTTP/1.0\r\n\r\n"
                client.sendall(request.encode())
            for client in clients:
                assert client.recv(15).startswith(b"HTTP/1.0 200")
        assert get(web, "/healthz") == b"alive\n"
        assert json.loads(get(web, "/fib/3"))["N"] == 3
    finally:
        assert web.stop() == 0


# systemd.


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Service manager that receives notifications."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_web_worker_notifies_systemd(
    server: RunningServer, serve_web: ServeWeb, manager: Manager, tmp_path: Path
) -> None:
    """The service manager is notified of start, reload, watchdog ticks and stop."""
    web = serve_web(
        *("--servers", server.address),
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="1000000",
    )
    manager.next("READY")
    for _ in range(3):
        manager.next("WATCHDOG")
    assert "0 clients, 0 requests answered" in manager.next("STATUS")
    os.kill(web.process.pid, signal.SIGHUP)
    assert re.search(r"^MONOTONIC_USEC=\d+$", manager.next("RELOADING"), re.MULTILINE)
    manager.next("READY")
    assert web.stop() == 0
    manager.next("STOPPING")


HANG = """
import os
from fibweb.stats.access_log import AccessLog
from fibweb.cli import main

AccessLog.write = lambda self, record: os.read(0, 1)
main()
"""
"""fibweb whose event loop blocks after each response until its standard input is readable."""


def test_watchdog_is_not_notified_while_loop_hangs(
    server: RunningServer, manager: Manager, tmp_path: Path
) -> None:
    """The watchdog is not notified while the event loop hangs."""
    arguments = ["--listen", f"unix:{tmp_path}/s", "--servers", server.address]
    environment = os.environ | {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "1000000",
    }
    command = [sys.executable, "-c", HANG, *arguments]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as web,
        socket.socket(socket.AF_UNIX) as client,
        ExitStack() as stack,
    ):
        stack.callback(web.kill)  # in case the test fails while the loop hangs
        assert web.stdin is not None
        manager.next("WATCHDOG")
        client.settimeout(DEADLINE_SECONDS)
        client.connect(f"{tmp_path}/s")
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        manager.wait_for_silence("WATCHDOG", 3)
        web.stdin.close()
        manager.next("WATCHDOG")
        assert b"alive" in client.recv(4096)
        web.terminate()
        assert web.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_web_worker_socket_activation(
    server: RunningServer, program: Program, tmp_path: Path, processes: str
) -> None:
    """Sockets passed by systemd replace `listen`; their files are not removed."""
    path = tmp_path / "socket"
    activate = [program("systemd-socket-activate"), "-l", str(path)]
    activate += ["-E", f"PATH={os.environ['PATH']}", *COMMAND, "--servers", server.address]
    activate += ["--processes", processes]
    web = RunningServer(activate, tmp_path / "log", ready=re.compile(r"Listening on (\S+) as 3\."))
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE_SECONDS)
            sock.connect(str(path))
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert sock.makefile("rb").read().endswith(b"alive\n")
        web.wait_for_log(f"fibweb: ready on unix:{path}")
    finally:
        assert web.stop() == 0
    assert path.exists(), "it is systemd's to remove"


# Stop.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_web_worker_finishes_response_in_progress(
    server: RunningServer, serve_web: ServeWeb, number: signal.Signals
) -> None:
    """A response in progress is finished before the process ends."""
    web = serve_web("--servers", server.address)
    with slow_download(web) as download:
        os.kill(web.process.pid, number)
        web.wait_for_log(f"received {number.name}")
        web.wait_for_log("waiting up to 10 s for requests in flight; a second")
        assert_is_whole(download)
    assert web.stop() == 0


def test_second_signal_ends_web_worker_at_once(server: RunningServer, serve_web: ServeWeb) -> None:
    """A second signal ends the process without waiting for slow readers."""
    web = serve_web("--servers", server.address, FIBWEB_DRAIN_TIMEOUT="1000")
    with slow_download(web):
        os.kill(web.process.pid, signal.SIGTERM)
        web.wait_for_log("received SIGTERM")
        web.wait_for_log("waiting up to 1000 s for requests in flight; a second SIGTERM")
        os.kill(web.process.pid, signal.SIGHUP)  # nothing is reloaded any more
        assert web.stop() == 0
    assert "reloaded" not in web.log.read_text()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_successor_keeps_its_socket(
    server: RunningServer, serve_web: ServeWeb, tmp_path: Path, processes: str
) -> None:
    """A draining process does not remove the socket file of its successor."""
    path = tmp_path / "socket"
    options = ("--servers", server.address, "--listen", f"unix:{path}", "--processes", processes)
    old = serve_web(*options)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.settimeout(DEADLINE_SECONDS)
        reader.connect(str(path))
        reader.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert reader.recv(1)
        os.kill(old.process.pid, signal.SIGTERM)
        old.wait_until(lambda _: not path.exists(), "its socket is gone")
        serve_web(*options)
        while reader.recv(1 << 20):
            pass
    assert old.stop() == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_drain_timeout_ends_slow_client(server: RunningServer, serve_web: ServeWeb) -> None:
    """A client that does not read is disconnected after `drain_timeout`."""
    web = serve_web("--servers", server.address, FIBWEB_DRAIN_TIMEOUT="0.1")
    with slow_download(web):
        assert web.stop() == 0
