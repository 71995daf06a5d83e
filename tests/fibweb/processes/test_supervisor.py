"""Supervisor: several serving processes on one socket, restarts and signals."""

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.fibserver.test_operating import Manager
from tests.fibweb.processes.test_web_worker import assert_is_whole, slow_download
from tests.support.fibweb_process import get, metrics
from tests.support.servers import RunningServer, is_running
from tests.support.waiting import wait_until

ServeWeb = Callable[..., RunningServer]


@pytest.fixture
def web(server: RunningServer, serve_web: ServeWeb) -> RunningServer:
    """fibweb with three serving processes and their supervisor."""
    return serve_web("--servers", server.address, "--processes", "3")


def pids(web: RunningServer) -> set[int]:
    """Return the ids of the running serving processes."""
    return {child.pid for child in web.process.children() if is_running(child)}


def serving(web: RunningServer) -> float:
    """Return the number of processes with metrics."""
    return metrics(web)["fibweb_processes"]


def test_configured_number_of_processes_serves(web: RunningServer) -> None:
    """The configured number of processes serves; the supervisor does not."""
    assert len(pids(web)) == 3
    assert serving(web) == 3
    assert "ready on" in web.log.read_text()
    assert web.log.read_text().count("fibweb: ready on") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_dead_web_process_is_replaced(web: RunningServer, number: signal.Signals) -> None:
    """A process that dies is replaced, and the others keep serving."""
    before = pids(web)
    victim = min(before)
    os.kill(victim, number)
    wait_until(lambda: len(pids(web) - before) == 1 and victim not in pids(web), "another")
    assert before - pids(web) == {victim}
    assert get(web, "/healthz") == b"alive\n"
    assert f"(pid {victim}) died; restarting it in 0.0 s" in web.log.read_text()
    wait_until(lambda: serving(web) == 3, "three processes that serve")


def test_all_processes_die_at_once(web: RunningServer) -> None:
    """When all processes die, connections wait in the backlog for their replacements."""
    before = pids(web)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert get(web, "/healthz") == b"alive\n"
    wait_until(lambda: len(pids(web) - before) == 3, "three others")


def test_dying_processes_are_restarted_with_growing_delay(web: RunningServer) -> None:
    """Processes that keep dying are restarted with growing pauses, and serve in the end."""
    text = ""
    while "restarting it in 0.2 s" not in text:
        for pid in pids(web):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        text = web.log.read_text()
    wait_until(lambda: len(pids(web)) == 3, "three processes")
    assert get(web, "/healthz") == b"alive\n"


def test_counts_outlive_the_processes(web: RunningServer) -> None:
    """The counters of a process survive its death."""
    for _ in range(30):
        get(web, "/fib/10")

    def count(name: str = "fibweb_requests_total 200 json") -> float:
        samples = metrics(web)
        return sum(samples[key] for key in samples if key.startswith(name) and "/fib" in key)

    wait_until(lambda: count() == 30, "30 requests counted")
    for pid in pids(web):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda gone=pid: gone not in pids(web), "its end")  # type: ignore[misc]
    wait_until(lambda: serving(web) == 3, "three processes that serve")
    assert count() == 30
    get(web, "/fib/10")
    wait_until(lambda: count() == 31, "one more")


@pytest.mark.soak
def test_stopped_web_process_is_replaced(web: RunningServer) -> None:
    """A process without heartbeats is killed and replaced."""
    before = pids(web)
    victim = psutil.Process(min(before))
    victim.suspend()
    for _ in range(3):
        try:
            wait_until(lambda: len(pids(web) - before) == 1, "another process")
            break
        except AssertionError:
            continue
    assert victim.pid not in pids(web)
    assert f"killing pid {victim.pid}:" in web.log.read_text()


SHORT = """
import errno, itertools, os, socket
from fibweb.cli import main

calls, original = itertools.count(1), {name}

def fail_at_first(*arguments):
    if next(calls) <= 4:
        raise {error}
    return original(*arguments)

{name} = fail_at_first
main()
"""


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("os.fork", "OSError(errno.EAGAIN, 'busy')"),
        ("os.fork", "MemoryError"),
        ("socket.socketpair", "OSError(errno.EMFILE, 'no more')"),
    ],
)
def test_failed_fork_is_retried(
    server: RunningServer, tmp_path: Path, name: str, error: str
) -> None:
    """A process that cannot be forked is retried with growing pauses."""
    program = SHORT.format(name=name, error=error)
    arguments = ["--listen", "127.0.0.1:0", "--servers", server.address, "--processes", "2"]
    command = [sys.executable, "-c", program, *arguments]
    web = RunningServer(command, tmp_path / "log", None, re.compile(r"fibweb: ready on ([^\s,]+)"))
    text = web.log.read_text()
    assert text.count("cannot start serving process") == 4
    assert "retrying in 0.1 s" in text
    assert get(web, "/healthz") == b"alive\n"
    assert web.stop() == 0


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_processes_finish_responses_in_progress(
    server: RunningServer, serve_web: ServeWeb, number: signal.Signals
) -> None:
    """All processes finish their responses in progress, then end."""
    web = serve_web("--servers", server.address, "--processes", "2")
    with ExitStack() as stack:
        downloads = [stack.enter_context(slow_download(web)) for _ in range(6)]
        os.kill(web.process.pid, number)
        web.wait_for_log(f"received {number.name}")
        for download in downloads:
            assert_is_whole(download)
    assert web.stop() == 0


def test_ctrl_c_drains_too(server: RunningServer, serve_web: ServeWeb) -> None:
    """SIGINT to all processes at once, as from a terminal, drains them."""
    web = serve_web("--servers", server.address, "--processes", "2")
    with slow_download(web) as download:
        for pid in pids(web):
            os.kill(pid, signal.SIGINT)
        os.kill(web.process.pid, signal.SIGINT)
        web.wait_for_log("received SIGINT")
        assert_is_whole(download)
    assert web.stop() == 0
    assert " died; " not in web.log.read_text()


def test_a_second_signal_ends_all_at_once(server: RunningServer, serve_web: ServeWeb) -> None:
    """A second signal ends all processes without waiting for slow readers."""
    web = serve_web("--servers", server.address, "--processes", "2", FIBWEB_DRAIN_TIMEOUT="1000")
    with slow_download(web):
        os.kill(web.process.pid, signal.SIGTERM)
        web.wait_for_log("received SIGTERM")
        assert web.stop() == 0


def test_killed_supervisor_leaves_no_processes(web: RunningServer) -> None:
    """When the supervisor is killed, all serving processes end."""
    for pid in sorted(pids(web))[:2]:  # so that replacements are included
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(pids(web)) == 3, "three processes")
    assert web.stop(signal.SIGKILL) == -9


def test_sighup_reloads_settings_of_all_processes(
    server: RunningServer, serve_web: ServeWeb, tmp_path: Path
) -> None:
    """SIGHUP reloads the settings of all processes, and is logged once."""
    config = tmp_path / "fibweb.toml"
    config.write_text("")
    web = serve_web("--config", str(config), "--servers", server.address, "--processes", "2")
    config.write_text("access_log = true\nthreads = 9\n")
    os.kill(web.process.pid, signal.SIGHUP)
    web.wait_for_log("a restart is needed for: threads")
    assert web.log.read_text().count("changed: access_log") == 1
    processes = set()

    def have_all_logged() -> bool:
        get(web, "/fib/10")
        # The generated request ids of each process have their own prefix.
        processes.update(re.findall(r'"GET /fib/10" .* ([0-9a-f]{12})-', web.log.read_text()))
        return len(processes) == 2

    wait_until(have_all_logged, "lines of both")


def test_a_reload_outlives_the_processes(
    server: RunningServer, serve_web: ServeWeb, tmp_path: Path
) -> None:
    """A replacement has the settings of the last reload."""
    config = tmp_path / "fibweb.toml"
    config.write_text("")
    web = serve_web("--config", str(config), "--servers", server.address, "--processes", "2")
    config.write_text("access_log = true\n")
    os.kill(web.process.pid, signal.SIGHUP)
    web.wait_for_log("changed: access_log")
    before = pids(web)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(pids(web) - before) == 2, "two others")
    get(web, "/fib/10")
    web.wait_for_log('"GET /fib/10"')


def test_supervisor_notifies_systemd(
    server: RunningServer, serve_web: ServeWeb, tmp_path: Path
) -> None:
    """The supervisor notifies the service manager for all processes."""
    manager = Manager(tmp_path / "notify")
    web = serve_web(
        *("--servers", server.address, "--processes", "2"),
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="1000000",
    )
    manager.next("READY")
    for _ in range(3):
        manager.next("WATCHDOG")
    while "2 of 2 processes, 0 clients" not in manager.next("STATUS"):
        pass
    assert web.stop() == 0
    manager.next("STOPPING")
    manager.close()
