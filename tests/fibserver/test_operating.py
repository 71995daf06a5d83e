"""Tests of operation: password, reload, socket activation, systemd, metrics and CLIENT KILL."""

import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client

Serve = Callable[..., RunningServer]
Program = Callable[[str], str]


def client(server: RunningServer, **options: object) -> redis.Redis:
    """Return a redis-py client."""
    return redis.Redis(
        "127.0.0.1",
        server.port,
        socket_timeout=DEADLINE_SECONDS,
        retry=Retry(NoBackoff(), 0),  # by default it retries for 16 s after a wrong password
        **options,  # type: ignore[arg-type]
    )


# The password.


def test_requests_before_auth_are_rejected(serve: Serve, tmp_path: Path) -> None:
    """Before AUTH every request is rejected, even one whose reply is cached."""
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    server = serve(FIBSERVER_PASSWORD_FILE=str(secret))
    with client(server, password="open sesame", protocol=3) as known:
        assert known.execute_command("FIB.NUMBER", 10) == b"55"
        assert known.execute_command("FIB.NUMBER", 10) == b"55"
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as sock:
        sock.sendall(b"*2\r\n$10\r\nFIB.NUMBER\r\n$2\r\n10\r\n")
        assert sock.recv(100) == b"-NOAUTH Authentication required.\r\n"
        sock.sendall(b"AUTH sesame\r\n")
        assert sock.recv(100).startswith(b"-WRONGPASS ")
        sock.sendall(b'AUTH "open sesame"\r\nFIB.NUMBER 10\r\n')
        assert sock.recv(100) == b"+OK\r\n$2\r\n55\r\n"
    with (
        client(server, password="wrong", protocol=2) as unknown,
        pytest.raises(redis.AuthenticationError),
    ):
        unknown.ping()


def test_password_allows_other_machines(serve: Serve, tmp_path: Path) -> None:
    """A server with a password can listen on all addresses."""
    secret = tmp_path / "password"
    secret.write_text("x\n")
    server = serve("--listen", "0.0.0.0:0", FIBSERVER_PASSWORD_FILE=str(secret))
    assert server.address.startswith("0.0.0.0:")


# Reload.


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the path of an empty settings file."""
    path = tmp_path / "fibserver.toml"
    path.write_text("")
    return path


def reload(server: RunningServer, message: str) -> None:
    """Send SIGHUP and wait for a log message."""
    os.kill(server.process.pid, signal.SIGHUP)
    server.wait_for_log(message)


def test_sighup_reloads_fibserver_settings(serve: Serve, config: Path, tmp_path: Path) -> None:
    """SIGHUP applies the reloadable settings at once, and logs those that need a restart."""
    server = serve("--config", str(config))
    with client(server) as connected:
        request = ("FIB.FIRST", 1000, "FORMAT", "json")
        for _ in range(3):
            assert connected.execute_command(*request)
        (tmp_path / "password").write_text("secret\n")
        config.write_text(
            'max_answer_bytes = 5000\nmemory_limit = "1MiB"\nworkers = 1\nlog_format = "json"\n'
            f'password_file = "{tmp_path / "password"}"\n'
        )
        reload(server, "a restart is needed for: workers, memory_limit")
        assert "changed: password_file, max_answer_bytes, log_format" in server.log.read_text()
        with pytest.raises(redis.ResponseError, match=r"max_answer_bytes is 5\.0 kB"):
            connected.execute_command(*request)
        assert connected.config_get("max_answer_bytes") == {"max_answer_bytes": "5000"}
        assert connected.config_get("workers") != {"workers": "1"}
    with client(server) as newcomer, pytest.raises(redis.AuthenticationError):
        newcomer.ping()
    assert re.search(r'^\{"time": ', server.log.read_text(), re.MULTILINE)


def test_invalid_reload_changes_nothing(serve: Serve, config: Path) -> None:
    """If a setting is invalid none changes, and each invalid one is logged."""
    server = serve("--config", str(config))
    config.write_text('max_answer_bytes = 5000\nlog_level = "loud"\nworkers = -1\n')
    reload(server, "not reloaded: log_level: 'loud': must be")
    server.wait_for_log("not reloaded: workers: '-1': must be")
    with client(server) as connected:
        assert connected.config_get("max_answer_bytes") == {"max_answer_bytes": "2147483648"}


# systemd.


def test_fibserver_socket_activation(program: Program, tmp_path: Path) -> None:
    """Sockets from systemd replace the configured addresses, and outlive the server."""
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    activate = [program("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", "-l", str(path)]
    activate += ["-E", f"PATH={os.environ['PATH']}", sys.executable, "-m", "fibserver"]
    server = RunningServer(
        activate, tmp_path / "log", ready=re.compile(r"Listening on (\S+) as 4\.")
    )
    try:
        for address in (f"127.0.0.1:{port}", f"unix:{path}"):
            with direct_client(address) as fib:
                assert fib.number(100) == 354224848179261915075
        assert f"ready on 127.0.0.1:{port}, unix:{path}" in server.log.read_text()
    finally:
        assert server.stop() == 0
    assert path.exists(), "it is systemd's to remove"


class Manager:
    """Service manager that receives notifications."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(DEADLINE_SECONDS)

    def next(self, name: str) -> str:
        """Return the next notification that sets this variable."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            message = self._socket.recv(4096).decode()
            if any(line.startswith(f"{name}=") for line in message.splitlines()):
                return message
        raise AssertionError(f"{name} never came")

    def wait_for_silence(self, name: str, length: int) -> None:
        """Wait for `length` status notifications without one of this name between them."""
        silence = 0
        for _ in range(DEADLINE_SECONDS):
            while name not in (message := self._socket.recv(4096).decode()):
                if "STATUS" in message:
                    silence += 1
                if silence == length:
                    return
            silence = 0
        raise AssertionError(f"{name} came all the time")

    def forget(self) -> None:
        """Discard the notifications received so far."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(4096):
                pass
        self._socket.settimeout(DEADLINE_SECONDS)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Return a service manager, which is closed after the test."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_fibserver_notifies_systemd(serve: Serve, manager: Manager, tmp_path: Path) -> None:
    """The server notifies the manager of start, watchdog, reload and stop."""
    server = serve(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000")
    assert f"STATUS=serving on {server.address}" in manager.next("READY")
    for _ in range(3):
        manager.next("WATCHDOG")
    assert "0 clients" in manager.next("STATUS")
    os.kill(server.process.pid, signal.SIGHUP)
    assert re.search(r"^MONOTONIC_USEC=\d+$", manager.next("RELOADING"), re.MULTILINE)
    manager.next("READY")
    assert server.stop() == 0
    manager.next("STOPPING")


def test_watchdog_is_not_notified_without_workers(
    serve: Serve, manager: Manager, tmp_path: Path
) -> None:
    """The server sends no watchdog notification while its workers hang."""
    server = serve(
        "--workers",
        "1",
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="2000000",
        FIBSERVER_REQUEST_TIMEOUT="1",
    )
    manager.next("WATCHDOG")
    is_over = threading.Event()

    def stop_every_worker() -> None:
        while not is_over.wait(0.01):
            for worker in server.workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.suspend()

    stopper = threading.Thread(target=stop_every_worker)
    stopper.start()
    try:
        manager.wait_for_silence("WATCHDOG", 3)
        # Health checks fail at once, since the connection is closed.
        busy = b"-BUSY no worker has responded lately: try another server or retry later\r\n"
        server.wait_until(lambda each: ask(each, b"PING\r\nQUIT\r\n") == busy, "BUSY")
    finally:
        is_over.set()
        stopper.join()
    manager.next("WATCHDOG")
    server.wait_until(lambda each: ask(each, b"PING\r\nQUIT\r\n") == b"+PONG\r\n+OK\r\n", "PONG")


def test_requests_get_busy_without_workers(serve: Serve, manager: Manager, tmp_path: Path) -> None:
    """During a shortage requests get BUSY, and the watchdog does not cause a restart.

    A restarted server could not start a worker either, and would lose the numbers in memory.
    """
    server = serve(
        "--workers",
        "1",
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="2000000",
        FIBSERVER_REQUEST_TIMEOUT="1",
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(b"FIB.NUMBER 100\r\n")
        replies = sock.makefile("rb")
        assert replies.readline() == b"$21\r\n"
        assert replies.readline() == b"354224848179261915075\r\n"
        limit = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        used = server.process.num_fds()  # a dead worker frees three, a new one needs six
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used, limit[1]))
        server.workers()[0].kill()
        server.wait_for_log("cannot start a worker")
        sock.sendall(b"FIB.NUMBER 50000\r\n")
        assert replies.readline().startswith(b"-BUSY no worker was free")
        busy = b"-BUSY no worker has responded lately: try another server or retry later\r\n"
        server.wait_until(lambda each: ask(each, b"PING\r\nQUIT\r\n") == busy, "BUSY")
        manager.forget()
        manager.next("WATCHDOG")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limit)
        server.wait_until(lambda each: len(each.workers()) == 1, "a worker")
        sock.sendall(b"FIB.NUMBER 50000\r\n")
        assert replies.readline() == b"$10450\r\n"


def ask(server: RunningServer, request: bytes) -> bytes:
    """Return the replies to a request, read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(request)
        return sock.makefile("rb").read()


# Metrics.


def metrics(address: str) -> dict[str, float]:
    """Return the samples by metric name and label values."""
    with urllib.request.urlopen(address, timeout=DEADLINE_SECONDS) as reply:
        text = reply.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(value for _, value in sorted(sample.labels.items()))
            samples[f"{sample.name} {labels}".rstrip()] = sample.value
    return samples


@pytest.fixture
def measured(serve: Serve) -> tuple[RunningServer, str]:
    """Return a server with metrics, and their URL."""
    server = serve("--metrics-listen", "127.0.0.1:0")
    match = re.search(r"metrics on (\S+)", server.log.read_text())
    assert match
    return server, match[1]


def test_fibserver_metrics_count_requests(measured: tuple[RunningServer, str]) -> None:
    """The metrics count requests, bytes and connections under the documented names."""
    server, address = measured
    with client(server, protocol=2) as connected:
        connected.execute_command("FIB.FIRST", 1000, "FORMAT", "json")
        connected.execute_command("FIB.RANGE", 900_000, 900_001, "FORMAT", "json")
        with pytest.raises(redis.ResponseError):
            connected.execute_command("FIB.FIRST", 10**9)
        samples = metrics(address)
    assert samples["fibserver_requests_total OK,fib.first"] == 1
    assert samples["fibserver_requests_total LIMIT,fib.first"] == 1
    assert samples["fibserver_error_replies_total LIMIT"] == 1
    assert samples["fibserver_request_duration_seconds_count fib.first"] == 2
    assert samples["fibserver_execution_duration_seconds_count fib.first"] == 2
    assert (
        samples["fibserver_execution_duration_seconds_sum fib.first"]
        <= samples["fibserver_request_duration_seconds_sum fib.first"]
    )
    assert samples["fibserver_connections"] == 1
    assert samples["fibserver_resident_elements json"] >= 1000
    assert samples["fibserver_streamed_bytes_total json"] > 180_000
    assert samples["fibserver_queued_replies cheap"] == 0
    assert samples["fibserver_queued_replies expensive"] == 0
    assert samples["fibserver_queued_seconds"] == 0
    assert samples["fibserver_overload_rejections_total"] == 0
    assert samples["fibserver_workers"] == len(server.workers())
    assert samples["fibserver_sent_bytes_total"] > 280_000
    assert samples["fibserver_process_memory_bytes acceptor"] > 1e6
    # An alert counts changes of the start time as restarts.
    assert (
        metrics(address)["fibserver_start_time_seconds"] == samples["fibserver_start_time_seconds"]
    )


def test_every_fibserver_metric_is_documented(measured: tuple[RunningServer, str]) -> None:
    """docs/metrics.md lists exactly the exported metrics."""
    server, address = measured
    server.info()  # creates request metrics
    with client(server, protocol=2) as connected, pytest.raises(redis.ResponseError):
        connected.execute_command("NONSENSE")
    with urllib.request.urlopen(address, timeout=DEADLINE_SECONDS) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    there = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    text = Path(__file__).parents[2].joinpath("docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(fibserver_\w+)", text, re.MULTILINE))
    snapshots = {name for name in documented if name.startswith("fibserver_snapshot_")}
    assert there == documented - snapshots
    assert len(snapshots) == 5


def test_metrics_are_at_one_path(measured: tuple[RunningServer, str]) -> None:
    """Other paths are 404 and malformed requests 400; the server survives both."""
    server, address = measured
    with pytest.raises(urllib.error.HTTPError, match="404"):
        metrics(address.removesuffix("/metrics") + "/else")
    host, port = address.removeprefix("http://").removesuffix("/metrics").split(":")
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as sock:
        sock.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in sock.recv(1000)
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as sock:
        sock.sendall(b"GET")
    assert metrics(address)["fibserver_connections"] == 0
    assert server.info()["worker_deaths"] == "0"


@pytest.mark.parametrize("version", ["x", "1." + "0" * 5000])
def test_no_scrape_ends_the_server(measured: tuple[RunningServer, str], version: str) -> None:
    """A request that breaks prometheus_client fails alone."""
    _, address = measured
    accept = {"Accept": f"application/openmetrics-text; version={version}"}
    request = urllib.request.Request(address, headers=accept)
    with contextlib.suppress(OSError, http.client.HTTPException):
        urllib.request.urlopen(request, timeout=DEADLINE_SECONDS).close()
    assert metrics(address)["fibserver_workers"] >= 1


# Clients.


def test_clients_are_listed_and_killed(serve: Serve) -> None:
    """Operators can list the connected clients and close a connection."""
    server = serve()
    with client(server, client_name="victim") as victim, client(server) as operator:
        victim.ping()
        (line,) = [each for each in operator.client_list() if each["name"] == "victim"]
        assert line["cmd"] == "ping"
        assert line["laddr"] == server.address
        assert operator.client_kill_filter(_id=line["id"]) == 1
        assert "victim" not in [each["name"] for each in operator.client_list()]
        with pytest.raises(redis.ResponseError, match="No such client"):
            operator.client_kill("127.0.0.1:1")


def test_ipv4_client_of_dual_stack_socket_is_listed(serve: Serve) -> None:
    """IPv4 clients of a dual-stack socket are listed and killed by their IPv4 address."""
    server = serve("--listen", "[::]:0", FIBSERVER_ALLOW_UNAUTHENTICATED="true")
    with (
        socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as victim,
        socket.create_connection(("::1", server.port), DEADLINE_SECONDS) as asking,
    ):
        address = "{}:{}".format(*victim.getsockname())
        victim.sendall(b"PING\r\n")
        assert victim.recv(64) == b"+PONG\r\n"
        asking.sendall(b"CLIENT LIST\r\n")
        assert f" addr={address} laddr=127.0.0.1:{server.port} ".encode() in asking.recv(4096)
        asking.sendall(f"CLIENT KILL ADDR {address}\r\n".encode())
        assert asking.recv(64) == b":1\r\n"
        assert victim.recv(64) == b""


def test_slow_requests_are_kept(serve: Serve) -> None:
    """SLOWLOG holds the requests whose execution took more than 10 ms."""
    server = serve()
    with client(server) as operator:
        operator.execute_command("FIB.NUMBER", 2_000_000)
        entries = {entry["command"]: entry for entry in operator.slowlog_get()}
        assert entries[b"FIB.NUMBER 2000000"]["duration"] >= 10_000
        assert operator.slowlog_len() >= 1
        assert operator.slowlog_reset()
        commands = [entry["command"] for entry in operator.slowlog_get()]
        assert b"FIB.NUMBER 2000000" not in commands


def test_used_memory_excludes_process_memory(serve: Serve) -> None:
    """`used_memory` holds resident numbers only; process memory is in `used_memory_rss`."""
    server = serve("--workers", "2", FIBSERVER_MEMORY_LIMIT="1MiB")
    with client(server) as operator:
        for format in ("json", "csv", "binary"):
            operator.execute_command("FIB.FIRST", 4000, "FORMAT", format)
        memory, before = operator.info("memory"), operator.info("server")
        assert 0 < memory["used_memory"] <= memory["maxmemory"] == 2**20
        parts = [memory[f"used_memory_{part}"] for part in ("acceptor", "workers", "shared")]
        assert memory["used_memory_rss"] == sum(parts)
        assert min(parts) > 0
        assert operator.info("stats")["instantaneous_ops_per_sec"] >= 0
        assert operator.info("latencystats")["latency_percentiles_usec_fib.first"].keys() == (
            operator.info("waitingstats")["waiting_percentiles_usec_fib.first"].keys()
        )
        assert re.fullmatch("[0-9a-f]{40}", before["run_id"])
        assert operator.info("server")["run_id"] == before["run_id"]
    with client(serve("--workers", "1")) as operator:
        assert operator.info("server")["run_id"] != before["run_id"]


def test_processes_are_measured(serve: Serve) -> None:
    """INFO reports memory and CPU time of each worker."""
    server = serve("--workers", "2")
    with client(server) as operator:
        operator.execute_command("FIB.FIRST", 5000)
        workers = operator.info("workers")
    pids = {worker.pid for worker in server.workers()}
    assert {workers["worker0"]["pid"], workers["worker1"]["pid"]} == pids
    assert all(workers[name]["memory"] > 1_000_000 for name in ("worker0", "worker1"))
    assert psutil.pid_exists(pids.pop())
