"""Protocols of systemd: notifications and socket activation."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fibcommon.service.errors import ListenError
from fibcommon.service.systemd import Notifier, activated_sockets
from tests.support.servers import DEADLINE_SECONDS
from tests.support.socket_passing import run_with_sockets


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_SECONDS)
        yield manager


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    """A notifier connected to the manager."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    yield notifier
    notifier.close()


# Notifications.


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda notifier: notifier.ready("on a:1"), b"READY=1\nSTATUS=on a:1"),
        (
            lambda notifier: notifier.stopping("draining", 120),
            b"STOPPING=1\nEXTEND_TIMEOUT_USEC=125000000\nSTATUS=draining",
        ),
        (lambda notifier: notifier.status("busy"), b"STATUS=busy"),
        (lambda notifier: notifier.status("a\nREADY=1"), b"STATUS=a READY=1"),
        (lambda notifier: notifier.watchdog(), b"WATCHDOG=1"),
    ],
)
def test_notification_is_one_datagram(
    manager: socket.socket, notifier: Notifier, tell: Callable[[Notifier], None], message: bytes
) -> None:
    """Each call sends one datagram in the format of sd_notify(3)."""
    tell(notifier)
    assert manager.recv(1000) == message


def test_reload_has_monotonic_time(manager: socket.socket, notifier: Notifier) -> None:
    """The beginning of a reload is reported with the monotonic time in microseconds."""
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    reloading, _, clock = manager.recv(1000).partition(b"\n")
    name, _, microseconds = clock.partition(b"=")
    assert (reloading, name) == (b"RELOADING=1", b"MONOTONIC_USEC")
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_manager_with_abstract_socket() -> None:
    """A name that begins with @ is in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + f"fibserver-{os.getpid()}")
        manager.settimeout(DEADLINE_SECONDS)
        notifier = Notifier({"NOTIFY_SOCKET": f"@fibserver-{os.getpid()}"})
        notifier.status("here")
        notifier.close()
        assert manager.recv(1000) == b"STATUS=here"


def test_nothing_is_sent_without_manager() -> None:
    """Without a manager nothing is sent or opened."""
    descriptors = os.listdir("/proc/self/fd")
    notifier = Notifier({})
    notifier.ready("")
    assert os.listdir("/proc/self/fd") == descriptors
    notifier.close()


@pytest.mark.parametrize("name", ["/nowhere/notify", "x" * 200, "vsock:2:1"])
def test_failed_notification_does_not_raise(name: str) -> None:
    """A notification that cannot be sent raises nothing."""
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("")
    notifier.close()
    notifier.watchdog()


def test_notification_is_dropped_if_queue_is_full(
    manager: socket.socket, notifier: Notifier
) -> None:
    """With a full queue a notification is dropped without a delay."""
    for number in range(10_000):
        notifier.status(str(number))
    assert manager.recv(1000) == b"STATUS=0"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_watchdog_seconds(environment: dict[str, str], seconds: float | None) -> None:
    """The watchdog is on only if the variables are for this process."""
    notifier = Notifier(environment)
    assert notifier.watchdog_seconds == seconds
    assert notifier.tick_seconds(1.0) == (0.25 if seconds == 0.5 else 1.0)


# Sockets.

TELL_SOCKETS = """
    import os, sys
    from fibcommon.service.errors import ListenError
    from fibcommon.service.listeners import address_of
    from fibcommon.service.systemd import activated_sockets

    try:
        passed = activated_sockets(os.environ)
    except ListenError as error:
        sys.exit(str(error))
    for listener, name in passed:
        print(name, address_of(listener), listener.getblocking(), listener.get_inheritable())
    print(*(name for name in os.environ if name.startswith("LISTEN_")))
"""
"""Prints the passed sockets and the remaining variables."""

TELL = [sys.executable, "-c", textwrap.dedent(TELL_SOCKETS)]


def test_activated_sockets(tmp_path: Path) -> None:
    """Passed sockets are adopted with their names, and the variables are removed."""
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        done = run_with_sockets(TELL, tcp, unix, names="fib.socket:private")
        port = tcp.getsockname()[1]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"fib.socket 127.0.0.1:{port} False False",
        f"private unix:{path} False False",
        "",
    ]


def test_datagram_socket_is_rejected() -> None:
    """A datagram socket is rejected; the error names its descriptor."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        done = run_with_sockets(TELL, tcp, datagrams, names="fib")
    assert done.returncode == 1
    assert done.stderr == (
        "descriptor 4 (unnamed) from systemd is not a listening stream socket (TCP or Unix)\n"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
    ],
)
def test_sockets_for_another_process_are_ignored(environment: dict[str, str]) -> None:
    """Variables for another process are ignored and removed."""
    environment["HOME"] = "/"
    assert activated_sockets(environment) == []
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("count", ["", "-1", "many"])
def test_invalid_socket_count_is_rejected(count: str) -> None:
    """An invalid count is rejected."""
    with pytest.raises(ListenError, match=r"^LISTEN_FDS: "):
        activated_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


def test_systemd_passes_sockets(program: Callable[[str], str], tmp_path: Path) -> None:
    """Sockets from systemd-socket-activate are adopted."""
    path = tmp_path / "socket"
    command = [program("systemd-socket-activate"), f"--listen={path}", "--fdname=private"]
    with subprocess.Popen(
        [*command, *TELL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "Listening on" in process.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
    assert output.splitlines() == [f"private unix:{path} False False", ""]
