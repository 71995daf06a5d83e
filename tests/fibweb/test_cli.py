"""Tests for the `fibweb` command: options and failed starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from fibweb import cli
from tests.support.fibweb_process import COMMAND
from tests.support.in_process import run_in_process
from tests.support.servers import DEADLINE_SECONDS, RunningServer


def run_fibweb(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command, which is expected to end at once."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--threads", "0"], {}, "threads: '0': must be a whole number"),
        (["--processes", "many"], {}, "processes: 'many': must be a whole number"),
        (["--listen", "nowhere"], {}, "listen: 'nowhere': must be "),
        (["--servers", "a:1,b:x"], {}, "servers: 'b:x': must be "),
        (["--log-level", "loud"], {}, "log_level: 'loud': must be "),
        (["--config", "/nowhere/file"], {}, "/nowhere/file: No such file or directory"),
        ([], {"FIBWEB_CACHE_BYTES": "many"}, "cache_bytes: 'many': must be a size such as"),
        ([], {"FIBWEB_PASSWORD_FILE": "/nowhere"}, "password_file: '/nowhere': cannot be read"),
    ],
)
def test_invalid_setting_fails_web_start(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    """An invalid setting ends the start with one line that names it, and the exit code 2."""
    done = run_in_process(cli.main, *arguments, **environment)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"fibweb: {message}")
    assert done.stderr.count("\n") == 1


def test_web_unix_socket_in_missing_folder_fails_to_start() -> None:
    """A start on a Unix socket whose folder does not exist fails in the same way."""
    done = run_fibweb("--listen", "unix:/no/socket")
    assert done.returncode == 2
    assert done.stderr.startswith("fibweb: cannot listen on unix:/no/socket: No such")
    assert done.stderr.count("\n") == 1


def test_each_invalid_web_setting_has_a_line() -> None:
    """Each invalid setting has a line."""
    done = run_fibweb("--threads", "0", "--log-level", "loud", FIBWEB_TIMEOUT="-1")
    assert done.returncode == 2
    names = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert sorted(names) == ["log_level", "threads", "timeout"]


@pytest.mark.parametrize("more", [[], ["--processes", "2"], ["--embedded"]])
def test_port_in_use_fails_start_in_one_line(server: RunningServer, more: list[str]) -> None:
    """A failed start prints one line, before other processes are started."""
    done = run_fibweb("--listen", server.address, *more)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    start = f"fibweb: cannot listen on {server.address}: Address already in use by "
    assert line.startswith(start)
    assert f"(pid {server.process.pid}); choose another port with --listen" in line


SHORT = """
import errno, os, socket, sys, threading
from fibweb.cli import main

def fail(*arguments, **named):
    raise {error}

{name} = fail
main()
"""


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("os.eventfd", "OSError(errno.EMFILE, 'no more')", "file descriptors: [Errno 24] no more"),
        ("os.eventfd", "MemoryError", "memory: MemoryError"),
        ("socket.socket.bind", "OSError(errno.ENOBUFS, 'full')", "memory: cannot listen on "),
        ("os.pipe", "OSError(errno.ENFILE, 'no more')", "file descriptors: [Errno 23] no more"),
        ("threading.Thread.start", 'RuntimeError("can\'t start new thread")', "threads: can't"),
        ("subprocess.Popen", "OSError(errno.EAGAIN, 'busy')", "processes: [Errno 11] busy"),
    ],
)
def test_shortage_fails_start_with_75(name: str, error: str, message: str) -> None:
    """A temporary shortage is reported in one line, with the exit code 75."""
    program = SHORT.format(name=name, error=error)
    arguments = ["--listen", "127.0.0.1:0", *(["--embedded"] if "Popen" in name else [])]
    done = subprocess.run(
        [sys.executable, "-c", "import subprocess\n" + program, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 75
    assert done.stderr.startswith(f"fibweb: short of {message}")
    assert done.stderr.count("\n") == 1


def test_check_config_accepts_valid_web_settings(server: RunningServer, tmp_path: Path) -> None:
    """`--check-config` confirms valid settings in one line, and starts nothing."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    config = tmp_path / "fibweb.toml"
    config.write_text(f'listen = "{server.address}"\npassword_file = "{password}"')
    done = run_fibweb("--config", str(config), "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "fibweb: the configuration is fine\n"


def test_check_config_reports_errors_like_web_start(tmp_path: Path) -> None:
    """`--check-config` reports invalid settings and passwords like a failed start."""
    config, password = tmp_path / "fibweb.toml", tmp_path / "password"
    password.write_bytes(b"\xff\n")
    for text in ("threads = 0", "thread = 1", f'password_file = "{password}"'):
        config.write_text(text)
        checked = run_in_process(cli.main, "--config", str(config), "--check-config")
        started = run_in_process(cli.main, "--config", str(config))
        assert (checked.exit_code, checked.stdout) == (started.exit_code, "") == (2, "")
        assert checked.stderr == started.stderr
        assert checked.stderr.count("\n") == 1


def test_fibweb_help_lists_options() -> None:
    """The help lists the options, with examples."""
    text = run_in_process(cli.main, "--help").stdout
    flags = ("config", "listen", "servers", "threads", "processes", "embedded", "log-level")
    assert all(f"--{flag} " in text for flag in flags)
    assert "curl" in text


def test_fibweb_version() -> None:
    """`--version` prints the version of the distribution."""
    assert run_fibweb("--version").stdout.startswith("fibweb, version ")
