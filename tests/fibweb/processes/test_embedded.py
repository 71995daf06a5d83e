"""Embedded fibserver: start, restart, probes and stop."""

import errno
import json
import os
import signal
import socket
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import psutil
import pytest

from fibweb.processes.embedded import REPLY_SECONDS, EmbeddedServer
from tests.fibserver.test_operating import Manager
from tests.support.fibweb_process import get, start_fibweb
from tests.support.servers import RunningServer, is_running
from tests.support.waiting import wait_until

ServeWeb = Callable[..., RunningServer]


def fibserver_of(web: RunningServer) -> psutil.Process | None:
    """Return the embedded fibserver, if it is running."""
    for child in web.process.children():
        with suppress(psutil.NoSuchProcess):  # it may end during the inspection
            if "fibserver" in child.cmdline() and is_running(child):
                return child
    return None


def is_answered(web: RunningServer, path: str) -> bool:
    """Return whether a path gets 200, and not 503 because the fibserver is starting."""
    try:
        return bool(get(web, path))
    except urllib.error.HTTPError as error:
        error.close()
        return False


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
def test_embedded_fibserver_ends_with_fibweb(
    serve_web: ServeWeb, tmp_path: Path, processes: str, number: int, code: int
) -> None:
    """The fibserver, its workers and the serving processes end however fibweb ends."""
    web = serve_web("--embedded", "--processes", processes, TMPDIR=str(tmp_path))
    (private,) = tmp_path.glob("fibweb-*.sock")
    assert private.is_socket()
    assert not private.stat().st_mode & 0o077
    assert json.loads(get(web, "/fib/3")) == {"N": 3, "result": ["0", "1", "1"]}
    assert len(web.process.children(recursive=True)) > 1
    assert web.stop(number) == code
    assert not private.exists()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_embedded_fibserver_is_restarted(serve_web: ServeWeb, processes: str) -> None:
    """The fibserver is restarted each time it dies."""
    web = serve_web("--embedded", "--processes", processes)
    for count in (1, 2):
        victim = fibserver_of(web)
        assert victim is not None
        victim.kill()
        wait_until(lambda gone=victim: not gone.is_running(), "its end")  # type: ignore[misc]
        wait_until(lambda: fibserver_of(web) is not None, "another fibserver")
        path = f"/fib?start={1000 * count}&count=1"  # in no cache
        wait_until(lambda path=path: is_answered(web, path), path)  # type: ignore[misc]
    assert web.log.read_text().count("the embedded fibserver exited with code -9") == 2


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Service manager that receives notifications."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_embedded_fibserver_does_not_notify_systemd(
    serve_web: ServeWeb, manager: Manager, tmp_path: Path
) -> None:
    """The fibserver does not inherit the variables of the service manager."""
    web = serve_web("--embedded", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
    assert manager.next("READY") == "READY=1\nSTATUS=serving"
    embedded = fibserver_of(web)
    assert embedded is not None
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} & embedded.environ().keys()


class Process(NamedTuple):
    """Fake process that records kills."""

    kills: list[float]

    def poll(self) -> None:
        """Return None: the process runs."""

    def kill(self) -> None:
        """Record a kill."""
        self.kills.append(0.0)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """Embedded fibserver that has replied before; the test opens its socket."""
    monkeypatch.setattr("fibweb.processes.embedded.CHECK_SECONDS", 0)
    server = EmbeddedServer({})
    server._path = tmp_path / "socket"
    server._process = cast(Any, Process([]))
    server._answered_at, server._has_answered = time.monotonic(), True
    yield server
    server._end_probe()


def is_killed(server: EmbeddedServer, checks: int = 4) -> bool:
    """Run some checks; return whether they have killed the server."""
    for _ in range(checks):
        server.restart_if_dead()
    return bool(cast(Any, server._process).kills)


def test_server_with_full_backlog_is_killed_after_limit(embedded: EmbeddedServer) -> None:
    """A server with a full backlog is killed only after the time limit."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(embedded._path))
        listener.listen(0)
        waiting.connect(str(embedded._path))
        assert not is_killed(embedded)
        embedded._answered_at -= REPLY_SECONDS + 1
        assert is_killed(embedded)


def test_probe_is_repeated_on_new_connection(embedded: EmbeddedServer) -> None:
    """A probe whose connection is closed is repeated on a new connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(embedded._path))
        listener.listen(16)
        embedded._answered_at -= REPLY_SECONDS / 2
        for reply in (b"", b"+PONG\r\n"):
            before = embedded._answered_at
            assert not is_killed(embedded, checks=1)
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(512)
                accepted.send(reply)
            assert not is_killed(embedded, checks=1)
        assert embedded._answered_at > before


def test_lack_of_descriptors_is_no_missing_reply(
    embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lack of descriptors in fibweb itself never counts as a missing reply."""

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    embedded._answered_at -= REPLY_SECONDS - 1
    monkeypatch.setattr(socket, "socket", fail)
    before = embedded._answered_at
    assert not is_killed(embedded)
    monkeypatch.undo()
    assert embedded._answered_at > before


def test_embedded_fibserver_without_socket_is_killed(embedded: EmbeddedServer) -> None:
    """A server whose socket is missing is killed, unless it has not opened it yet."""
    embedded._has_answered = False
    assert not is_killed(embedded)
    embedded._has_answered = True
    assert is_killed(embedded, checks=1)


def test_server_with_removed_socket_is_replaced(serve_web: ServeWeb, tmp_path: Path) -> None:
    """A running fibserver whose socket file was removed is replaced."""
    web = serve_web("--embedded", TMPDIR=str(tmp_path))
    first = fibserver_of(web)
    assert first is not None
    (private,) = tmp_path.glob("fibweb-*.sock")
    private.unlink()  # as programs that clean up temporary directories do
    wait_until(lambda: not first.is_running(), "its end")
    wait_until(lambda: is_answered(web, "/fib?start=1000&count=1"), "another fibserver")
    assert f"does not answer at {private}" in web.log.read_text()


def test_settings_of_another_fibserver_are_ignored(serve_web: ServeWeb, tmp_path: Path) -> None:
    """Settings for another fibserver's address or password do not reach the embedded one."""
    password = tmp_path / "password"
    password.write_text("secret")
    web = serve_web(
        "--embedded",
        FIBSERVER_PASSWORD_FILE=str(password),
        FIBSERVER_LISTEN="unix:/nowhere/at/all",
        FIBSERVER_WORKERS="1",
    )
    assert is_answered(web, "/fib/3")
    embedded = fibserver_of(web)
    assert embedded is not None
    assert len(embedded.children()) == 1
    log = web.log.read_text()
    assert "FIBSERVER_PASSWORD_FILE is not used by the embedded fibserver" in log
    assert "the embedded fibserver uses FIBSERVER_WORKERS" in log


def test_embedded_service_ignores_modules_in_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process of either service imports modules from the working directory."""
    proof = tmp_path / "ran"
    for name in ("ctypes", "multiprocessing", "click"):
        (tmp_path / f"{name}.py").write_text(f"open({str(proof)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tests.support.fibweb_process.COMMAND", [sys.executable, "-P", "-m", "fibweb"]
    )
    web = start_fibweb(tmp_path / "log", "--embedded")
    try:
        assert is_answered(web, "/fib/3")
    finally:
        assert web.stop() == 0
    assert not proof.exists()


def test_failed_start_of_fibserver_ends_fibweb(tmp_path: Path) -> None:
    """If the fibserver does not start, fibweb exits with an error."""
    with pytest.raises(AssertionError, match="fibweb: the embedded fibserver did not start"):
        start_fibweb(tmp_path / "log", "--embedded", FIBSERVER_WORKERS="many")
