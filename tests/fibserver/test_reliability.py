"""Tests of failures of the machine, workers, the clock and clients.

docs/reliability.md has a row for each; test_faults.py tests crashes of workers.
"""

import contextlib
import functools
import random
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fibclient import RequestRefused, ServerUnreachable
from tests.support.expected import expected, fibonacci, reply
from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client
from tests.support.sockets import connected, read_exactly

Serve = Callable[..., RunningServer]
Program = Callable[[str], str]

MIB = 1024 * 1024


def assert_serves(server: RunningServer) -> None:
    """Check that a new client gets right replies."""
    with direct_client(server.address) as client:
        client.ping()
        assert client.range(700, 900) == fibonacci(700, 900)


# Workers.

CASES = [
    (format, start, start + count)
    for format in ("json", "csv", "binary")
    for start, count in ((0, 1500), (3000, 40), (60_000, 20), (60_000, 100))
]
"""All are short, so that on a slow machine no block outlasts three workers."""


def kill_workers_under_load(server: RunningServer, kills: int) -> int:
    """Kill workers under load, and check that no reply is wrong or lost.

    A worker is killed as soon as every request that the previous kill can have hit has its reply,
    so that no block loses three workers, however slow the machine is.

    Returns:
        Number of replies.
    """
    right = {case: expected(*case) for case in CASES}
    replies = [0] * 4
    progress = threading.Condition()
    is_over = threading.Event()

    def ask(number: int) -> None:
        chance = random.Random(number)
        with direct_client(server.address) as client:
            while not is_over.is_set():
                format, start, stop = case = chance.choice(CASES)
                assert client.read(start, stop, format) == right[case]
                with progress:
                    replies[number] += 1
                    progress.notify()

    def all_were_answered_since(before: list[int]) -> bool:
        return all(now > then for now, then in zip(replies, before, strict=True))

    chance = random.Random(7)
    with ThreadPoolExecutor(len(replies)) as threads:
        clients = [threads.submit(ask, number) for number in range(len(replies))]
        try:
            for _ in range(kills):
                victim = chance.choice(server.workers())
                victim.kill()
                victim.wait(DEADLINE_SECONDS)  # until the acceptor has given its tasks to others
                with progress:
                    before = replies.copy()
                    was_answered = functools.partial(all_were_answered_since, before)
                    assert progress.wait_for(was_answered, DEADLINE_SECONDS)
        finally:
            is_over.set()
            for client in clients:
                client.result()
    return sum(replies)


@pytest.mark.parametrize("kills", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_workers_killed_under_load(serve: Serve, kills: int) -> None:
    """No reply is wrong or lost while one worker after another is killed."""
    # With this little memory nearly every reply needs a worker.
    server = serve("--workers", "2", FIBSERVER_MEMORY_LIMIT="1MiB")
    replies = kill_workers_under_load(server, kills)
    print(f"{kills} workers killed, {replies} replies, all right")
    server.wait_until(lambda each: len(each.workers()) == 2, "both workers run")
    info = server.info()
    assert int(info["worker_deaths"]) == kills
    assert info["total_error_replies"] == "0"


def test_stopped_worker_is_killed(serve: Serve) -> None:
    """A worker stopped during a task is killed, and another worker does the task."""
    server = serve("--workers", "1", FIBSERVER_REQUEST_TIMEOUT="4")
    (worker,) = server.workers()
    worker.suspend()
    with direct_client(server.address) as client:
        assert client.read(0, 2000, "json") == expected("json", 0, 2000)
    server.wait_for_log("sent no outcome for 2 s: killed")
    assert worker.pid not in [each.pid for each in server.workers()]


def test_worker_stopped_while_idle_is_replaced(serve: Serve) -> None:
    """A worker stopped while idle gets no task and is replaced."""
    server = serve("--workers", "2", FIBSERVER_REQUEST_TIMEOUT="4")
    worker = server.workers()[0]
    worker.suspend()
    server.wait_for_log(f"worker {worker.pid} sent no outcome")
    server.wait_until(
        lambda each: len(each.workers()) == 2 and worker.pid not in _pids(each),
        "the stopped worker is replaced",
    )
    assert_serves(server)


def _pids(server: RunningServer) -> list[int]:
    return [each.pid for each in server.workers()]


def test_request_without_worker_in_time_gets_busy(serve: Serve) -> None:
    """A request that no worker has time for gets BUSY, and the connection stays open."""
    server = serve(
        "--workers", "1", FIBSERVER_REQUEST_TIMEOUT="1", FIBSERVER_MAX_INDEX="200000000"
    )
    with connected(server) as sock:
        sock.sendall(b"FIB.NUMBER 150000000 FORMAT binary\r\n")  # takes minutes
        assert read_exactly(sock, 6) == b"-BUSY "
        sock.sendall(b"\r\nPING\r\n")
        rest = b""
        while not rest.endswith(b"+PONG\r\n"):
            rest += sock.recv(1000)
    assert rest.startswith(b"no worker was free within 1 s: try again\r\n")


# Fairness.


def test_giant_numbers_leave_a_worker_free(serve: Serve) -> None:
    """Small cold requests are served while giant numbers are computed."""
    server = serve("--workers", "2", FIBSERVER_MAX_INDEX="100000000")
    with contextlib.ExitStack() as stack:
        for number in range(90_000_000, 90_000_020):
            sock = stack.enter_context(connected(server))
            sock.sendall(b"FIB.NUMBER %d\r\n" % number)  # half a minute of work
        server.wait_until(lambda each: each.info()["workers_busy"] == "1", "one is busy")
        for format in ("json", "csv", "text"):
            with direct_client(server.address) as client:
                assert client.read(0, 50, format) == expected(format, 0, 50)
        info = server.info()
        assert int(info["blocked_clients"]) >= 18, "all still wait"
        assert info["workers_busy"] == "1"


@pytest.mark.parametrize("is_reset", [False, True])
def test_clients_that_leave_free_their_blocks(serve: Serve, is_reset: bool) -> None:
    """Queued blocks are dropped when their clients close or reset the connection."""
    server = serve("--workers", "1", FIBSERVER_MAX_INDEX="100000000")
    with contextlib.ExitStack() as stack:
        for number in range(30_000_000, 30_000_020):  # ten seconds of work
            sock = stack.enter_context(connected(server))
            if is_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(b"FIB.NUMBER %d\r\n" % number)
        server.wait_until(lambda each: each.info()["blocked_clients"] == "20", "all of them wait")
        assert int(server.info()["queued_expensive"]) >= 17
    assert_serves(server)
    server.wait_until(lambda each: each.info()["connected_clients"] == "1", "all of them are gone")
    info = server.info()
    assert info["queued_expensive"] == "0"
    assert int(info["blocks_computed"]) <= 10


# Shared memory, descriptors, clients.


def test_reply_after_shared_memory_is_full(
    serve: Serve, mounting: Callable[[str], list[str]]
) -> None:
    """A full /dev/shm is a NOSPACE error; requests succeed again once there is space."""
    server = serve("--workers", "2", under=mounting("mount -t tmpfs -o size=8m tmpfs /dev/shm"))
    filler = Path(f"/proc/{server.process.pid}/root/dev/shm/filler")
    with direct_client(server.address) as client:
        assert client.read(0, 1000, "json") == expected("json", 0, 1000)
        with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
            file.write(bytes(8 * MIB))
        assert server.info()["shared_memory_available"] == "0"
        for start in (5000, 100_000):  # resident, and transient
            with pytest.raises(RequestRefused) as caught:
                client.read(start, start + 1000, "json")
            assert caught.value.code == "NOSPACE"
        assert client.read(0, 1000, "json") == expected("json", 0, 1000)
        filler.unlink()
        assert client.read(0, 3000, "json") == expected("json", 0, 3000)
    info = server.info()
    assert info["worker_deaths"] == "0"
    assert info["errorstat_NOSPACE"] == "count=2"
    assert 0 < int(info["shared_memory_available"]) < 8 * MIB


def test_replies_with_small_shared_memory(
    serve: Serve, mounting: Callable[[str], list[str]]
) -> None:
    """With a /dev/shm smaller than `memory_limit`, as in containers, replies are the same."""
    server = serve("--workers", "2", under=mounting("mount -t tmpfs -o size=64m tmpfs /dev/shm"))
    log = server.log.read_text()
    assert "memory_limit lowered to 30 MiB" in log
    assert "--shm-size" in log  # the remedy in a container
    with direct_client(server.address) as client:
        for format in ("json", "csv", "json"):
            assert client.read(0, 20_000, format) == expected(format, 0, 20_000)
    assert server.info()["total_error_replies"] == "0"


@pytest.mark.parametrize(
    ("mount", "complaint"),
    [
        ("mount -t tmpfs -o ro tmpfs /dev/shm", "mount a tmpfs of 64 MiB or more there"),
        ("mount -t tmpfs tmpfs /dev", "mount a tmpfs of 64 MiB or more there"),
        ("ulimit -v 2000000", "or raise ulimit -v"),
    ],
)
def test_start_without_shared_memory_fails(
    serve: Serve, mounting: Callable[[str], list[str]], mount: str, complaint: str
) -> None:
    """Without shared memory a start fails with one line that names the remedy."""
    with pytest.raises(AssertionError) as caught:
        serve(under=mounting(mount))
    (line,) = (each for each in str(caught.value).splitlines() if "/dev/shm" in each)
    assert "no shared memory in /dev/shm: " in line
    assert complaint in line


def test_workers_start_without_proc(serve: Serve, mounting: Callable[[str], list[str]]) -> None:
    """Workers start without /proc, as in a bare chroot."""
    server = serve("--workers", "1", under=mounting("mount -t tmpfs tmpfs /proc"))
    with direct_client(server.address) as client:
        assert client.read(0, 1000, "json") == expected("json", 0, 1000)
    assert "ended with exit code" not in server.log.read_text()


def test_ten_thousand_idle_connections(serve: Serve) -> None:
    """Other clients are served while ten thousand idle ones are connected."""
    count = 10_000
    server = serve("--workers", "1", FIBSERVER_MAX_CLIENTS=str(count + 50))
    needed = count + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), max(hard, needed)))
    with contextlib.ExitStack() as stack:
        before = server.memory_bytes()
        idle = [stack.enter_context(connected(server)) for _ in range(count)]
        assert_serves(server)
        assert server.info()["connected_clients"] == str(count + 1)
        assert server.memory_bytes() - before < 100 * MIB
        for sock in (idle[0], idle[-1]):
            sock.sendall(b"FIB.FIRST 10\r\n")
            want = reply("array", 0, 10)
            assert read_exactly(sock, len(want)) == want
    server.wait_until(lambda each: each.info()["connected_clients"] == "1", "they are forgotten")


def test_slow_loris_is_closed(serve: Serve) -> None:
    """A request that is not complete within `request_timeout` closes the connection."""
    server = serve("--workers", "1", FIBSERVER_REQUEST_TIMEOUT="1")
    with connected(server) as sock:
        sock.sendall(b"*2\r\n$9\r\nFIB.FIRST\r\n$1000\r\n")
        with pytest.raises(ConnectionError):
            trickle(sock)
    assert_serves(server)


def trickle(sock: socket.socket) -> None:
    """Send a byte every 100 ms until that fails."""
    pause = threading.Event()
    for _ in range(DEADLINE_SECONDS * 10):
        sock.sendall(b"0")
        pause.wait(0.1)


def test_a_pipeline_of_a_hundred_thousand_commands(serve: Serve) -> None:
    """A pipeline of a hundred thousand requests is answered in order, in bounded memory."""
    count = 100_000
    server = serve("--workers", "1")
    requests = b"".join(b"ECHO %d\r\nFIB.NUMBER %d\r\n" % (n, n % 90) for n in range(count // 2))
    numbers = fibonacci(0, 90)
    want = b"".join(
        b"$%d\r\n%d\r\n" % (len(str(value)), value)
        for n in range(count // 2)
        for value in (n, numbers[n % 90])
    )
    before = server.memory_bytes()
    with connected(server) as sock, ThreadPoolExecutor(1) as threads:
        sent = threads.submit(sock.sendall, requests)
        assert read_exactly(sock, len(want)) == want
        sent.result(DEADLINE_SECONDS)
        assert server.memory_bytes() - before < 20 * MIB


def test_unread_pipelines_take_bounded_memory(serve: Serve) -> None:
    """Clients that never read take bounded memory."""
    server = serve("--workers", "1")
    assert_serves(server)
    before = server.memory_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            sock = stack.enter_context(connected(server))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(b"FIB.FIRST 300 FORMAT csv\r\nFIB.FIRST 290 FORMAT csv\r\n" * 100)
        assert_serves(server)
        assert server.memory_bytes() - before < 50 * MIB


# The acceptor, and the clock.


def test_server_restarts_after_acceptor_is_killed(serve: Serve, tmp_path: Path) -> None:
    """After kill -9 a server with the same settings starts at once, and loads the snapshot."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments: tuple[str, ...] = (
        "--listen",
        address,
        "--listen",
        f"unix:{tmp_path / 's'}",
        "--workers",
        "2",
    )
    arguments += ("--state-dir", str(tmp_path / "state"))
    for _ in range(3):
        server = serve(*arguments)
        with direct_client(address) as client:
            assert client.read(0, 4000, "json") == expected("json", 0, 4000)
            with ThreadPoolExecutor(1) as threads:
                reply = threads.submit(client.read, 100_000, 104_000, "json")
                server.stop(signal.SIGKILL)
                assert isinstance(reply.exception(DEADLINE_SECONDS), ServerUnreachable)
    with direct_client(serve(*arguments).address) as client:
        assert client.read(0, 4000, "csv") == expected("csv", 0, 4000)


def test_requests_that_arrive_with_sigterm_are_answered(serve: Serve) -> None:
    """Requests that arrive together with SIGTERM are answered, and fibserver stops."""
    server = serve("--workers", "1")
    with connected(server) as known:
        known.sendall(b"PING\r\n")
        assert read_exactly(known, 7) == b"+PONG\r\n"
        server.process.suspend()  # all that follows arrives in one iteration of its loop
        with connected(server):
            known.sendall(b"FIB.NUMBER 10\r\n")
            server.process.terminate()
            server.process.resume()
            assert read_exactly(known, 1000) == b"$2\r\n55\r\n"
    assert server.stop(0) == 0  # signal 0: a second SIGTERM would end it at once
    assert "Traceback" not in server.log.read_text()


def test_waiting_clients_get_shutdown_error(serve: Serve) -> None:
    """After `drain_timeout` waiting clients get SHUTDOWN, and the server exits."""
    settings = {"FIBSERVER_DRAIN_TIMEOUT": "0.2", "FIBSERVER_MAX_INDEX": "200000000"}
    server = serve("--workers", "1", **settings)
    with connected(server) as first, connected(server) as second:
        for sock in (first, second):
            sock.sendall(b"FIB.NUMBER 150000000\r\nPING\r\n")  # takes seconds
        server.wait_until(lambda each: each.info()["blocked_clients"] == "2", "both wait")
        assert server.stop() == 0
        for sock in (first, second):
            received = read_exactly(sock, 1000)
            assert received.startswith(b"-SHUTDOWN the server is stopping")
            assert received.count(b"\r\n") in (1, 2)


def test_clock_jumps_close_no_client(serve: Serve, program: Program, tmp_path: Path) -> None:
    """Jumps of the wall clock by years close no client and delay nothing."""
    now = tmp_path / "now"
    now.write_text("+0")
    under = [
        program("env"),
        f"LD_PRELOAD={_faketime_library(program)}",
        f"FAKETIME_TIMESTAMP_FILE={now}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "DONT_FAKE_MONOTONIC=1",
    ]
    server = serve("--workers", "1", under=under, FIBSERVER_IDLE_TIMEOUT="60")
    with connected(server) as sock:
        for jump in ("+10y", "-10y", "+0"):
            now.write_text(jump)
            year = int(1970 + _server_time(sock) / (365.2425 * 86_400))
            assert year - time.gmtime().tm_year == int(jump.rstrip("y"))
            assert_serves(server)
            wait_for_ticks(server, 2)
        sock.sendall(b"PING\r\n")
        assert read_exactly(sock, 7) == b"+PONG\r\n"
    assert server.info()["worker_deaths"] == "0"


def wait_for_ticks(server: RunningServer, count: int) -> None:
    """Wait for `count` periodic maintenance runs of the server."""
    before = int(server.info()["uptime_in_seconds"])
    server.wait_until(
        lambda each: int(each.info()["uptime_in_seconds"]) >= before + count,
        "time goes on",
    )


def _server_time(sock: socket.socket) -> int:
    """Return the seconds of the TIME reply."""
    sock.sendall(b"TIME\r\n")
    received = b""
    while received.count(b"\r\n") < 5:
        received += sock.recv(1000)
    return int(received.split(b"\r\n")[2])


def _faketime_library(program: Program) -> Path:
    program("faketime")
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
