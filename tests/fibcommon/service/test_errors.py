"""Failed starts: messages and exit codes."""

import errno
import re
import time
from pathlib import Path

import pytest

from fibcommon.service.errors import (
    ListenError,
    SettingsError,
    end_failed_start,
    is_shortage,
    remedy_after,
)


@pytest.mark.parametrize(
    ("message", "remedy", "end"),
    [
        ("no server", "start one", "; start one"),
        ("Authentication required.", "pass it", " Pass it"),
        ("Are you sure?", "omit it", " Omit it"),
        ("no server", "", ""),
    ],
)
def test_remedy_follows_message(message: str, remedy: str, end: str) -> None:
    """A remedy follows a message after a semicolon, and a sentence as another sentence."""
    assert remedy_after(message, remedy) == end


def caused_by(cause: BaseException) -> ListenError:
    """Return an error with a cause."""
    error = ListenError("cannot listen on a:1: why")
    error.__cause__ = cause
    return error


def printed_and_exited(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> tuple[str, object]:
    """Return the exit code and the output of a failed start."""
    with pytest.raises(SystemExit) as exited:
        end_failed_start("fibtest", error)
    return capsys.readouterr().err, exited.value.code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EAGAIN, "busy"), "short of processes: [Errno 11] busy"),
        (OSError(errno.EMFILE, "many"), "short of file descriptors: [Errno 24] many"),
        (OSError(errno.ENOSPC, "full", "/s"), "short of disk space: [Errno 28] full: '/s'"),
        (OSError(errno.ENOMEM, "none"), "short of memory: [Errno 12] none"),
        (MemoryError(), "short of memory: MemoryError"),
        (RuntimeError("can't start new thread"), "short of threads: can't start new thread"),
        (
            caused_by(OSError(errno.ENFILE, "many")),
            "short of file descriptors: cannot listen on a:1: why",
        ),
    ],
)
def test_shortage_names_resource(
    error: BaseException, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shortage is reported with the missing resource and the exit code of temporary failures."""
    assert is_shortage(error)
    assert printed_and_exited(error, capsys) == (f"fibtest: {message}\n", 75)


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("workers: '0': must be more\nlisten: 'x': must be an address"),
        OSError(errno.EACCES, "denied", "/state"),
        RuntimeError("a bug"),
        caused_by(OSError(errno.EADDRINUSE, "in use")),
    ],
)
def test_permanent_failure_has_its_exit_code(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other errors have the exit code of permanent failures."""
    assert not is_shortage(error)
    lines = "".join(f"fibtest: {line}\n" for line in str(error).splitlines())
    assert printed_and_exited(error, capsys) == (lines, 2)


@pytest.mark.parametrize("unit", ["fibserver", "fibweb"])
def test_systemd_never_gives_up(
    unit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """During a shortage a unit does not reach the start limit of systemd."""
    text = (Path(__file__).parents[3] / "systemd" / f"{unit}.service").read_text()
    value = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    printed_and_exited(MemoryError(), capsys)
    assert pauses == []  # without systemd
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    _, code = printed_and_exited(MemoryError(), capsys)
    assert pauses[0] > int(value["StartLimitIntervalSec"]) / int(value["StartLimitBurst"])
    assert str(code) not in value["RestartPreventExitStatus"].split()
    printed_and_exited(SettingsError("bad"), capsys)
    assert len(pauses) == 1
