"""Signals as bytes in a pipe."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fibcommon.service.signals import SignalPipe, drain_notice, has_terminal
from tests.support.servers import DEADLINE_SECONDS
from tests.support.waiting import wait_until


def test_signal_makes_pipe_readable() -> None:
    """A signal makes the pipe readable and has no other effect."""
    with SignalPipe((signal.SIGUSR1, signal.SIGUSR2)) as signals:
        assert select.select([signals], [], [], 0)[0] == []
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([signals], [], [], 30)[0] == [signals]
        assert signals.read() == [signal.SIGUSR2, signal.SIGUSR1]


def test_handlers_are_restored() -> None:
    """Leaving the context restores the handlers and closes all descriptors."""
    before = signal.getsignal(signal.SIGUSR1)
    descriptors = os.listdir("/proc/self/fd")
    with SignalPipe((signal.SIGUSR1,)):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
    assert os.listdir("/proc/self/fd") == descriptors
    assert signal.set_wakeup_fd(-1) == -1


def test_ignored_signals_stay_ignored() -> None:
    """Ignored signals stay ignored after the context."""
    before = signal.getsignal(signal.SIGUSR1)
    try:
        with SignalPipe((signal.SIGUSR1, signal.SIGUSR2)) as signals:
            signals.ignore(signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert select.select([signals], [], [], 0)[0] == []
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("command", [["fibserver"], ["fibweb", "--embedded"], ["fibweb"]])
def test_closed_terminal_ends_service(command: list[str], tmp_path: Path) -> None:
    """SIGHUP ends a service that was started in a terminal."""
    listen = ["--listen", f"unix:{tmp_path / 'socket'}"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", *command, *listen])
    said = b""
    while b"ready on" not in said:
        assert select.select([terminal], [], [], DEADLINE_SECONDS)[0], said
        said += os.read(terminal, 4096)
    os.close(terminal)
    wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "its end")


def test_sighup_without_terminal_is_no_end() -> None:
    """SIGHUP does not end a service under nohup or without a controlling terminal."""
    ask = "from fibcommon.service.signals import has_terminal; print(has_terminal())"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, check=True, start_new_session=True
    )
    assert done.stdout == b"False\n"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert not has_terminal()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_notice_names_second_signal() -> None:
    """The notice names the key or the signal that ends the process at once."""
    assert drain_notice(signal.SIGINT, 10.0) == (
        "waiting up to 10 s for requests in flight; a second Ctrl-C ends them at once"
    )
    assert "a second SIGTERM ends" in drain_notice(signal.SIGTERM, 0.5)
