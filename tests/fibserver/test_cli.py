"""Tests of the `fibserver` command: options, failed starts and exit codes."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fibcommon import __version__
from fibserver import cli
from tests.support.in_process import run_in_process
from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client
from tests.support.socket_passing import run_with_sockets
from tests.support.waiting import wait_until


def run_fibserver(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command, which must exit at once."""
    return subprocess.run(
        [sys.executable, "-m", "fibserver", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env=environment,
    )


# Starts.


def test_settings_are_used(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Settings come from the file, the environment and the command line."""
    config = tmp_path / "fibserver.toml"
    config.write_text('listen = "127.0.0.1:0"\nworkers = 7\nlog_format = "json"\nmax_index = 5')
    server = serve(
        *("--config", str(config), "--listen", "127.0.0.1:0", "--workers", "1"),
        FIBSERVER_LOG_LEVEL="info",
    )
    assert len(server.workers()) == 1
    messages = [json.loads(line)["message"] for line in server.log.read_text().splitlines()]
    assert f"ready on {server.address} with 1 workers" in messages


def test_stale_unix_socket_is_replaced(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """A stale socket file does not prevent a start; the socket of a live server does."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop(9)
    assert (tmp_path / "socket").exists()
    serve("--listen", address)
    assert run_fibserver("--listen", address).returncode == 2
    with direct_client(address) as client:
        client.ping()


def test_settings_from_pipes_are_read_once(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """Settings and password can come from pipes: a start reads each once."""
    password = write_once(tmp_path / "password", b"secret\n")
    config = write_once(tmp_path / "config", f'password_file = "{password}"'.encode())
    server = serve("--config", str(config))
    with redis.Redis("127.0.0.1", server.port, password="secret") as client:
        assert client.ping()
    with (
        redis.Redis("127.0.0.1", server.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def write_once(path: Path, data: bytes) -> Path:
    """Create a named pipe, and write to the first reader."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=[data], daemon=True).start()
    return path


def test_fibserver_ignores_modules_in_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server imports no modules from the working directory."""
    proof = tmp_path / "ran"
    (tmp_path / "folder").mkdir()
    for name in ("ctypes", "multiprocessing", "signal", "os"):
        (tmp_path / "folder" / f"{name}.py").write_text(f"open({str(proof)!r}, 'w')")
    # Like an installed command, it puts its own directory on the path, not the working directory.
    command = tmp_path / "fibserver"
    command.write_text("from fibserver.cli import main\nmain()")
    monkeypatch.chdir(tmp_path / "folder")
    server = RunningServer(
        [sys.executable, str(command), "--listen", "127.0.0.1:0"], tmp_path / "log"
    )
    assert server.stop() == 0
    assert not proof.exists()


# Failed starts.


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--workers", "0"], {}, "workers: '0': must be a whole number"),
        (["--workers", "many"], {}, "workers: 'many': must be a whole number"),
        (["--listen", "nowhere"], {}, "listen: 'nowhere': must be "),
        (["--listen", "0.0.0.0:0"], {}, "listen: '0.0.0.0:0': other machines can reach this"),
        (["--log-level", "loud"], {}, "log_level: 'loud': must be "),
        (["--state-dir", "here"], {}, "state_dir: 'here': must be "),
        (["--metrics-listen", "here"], {}, "metrics_listen: 'here': must be "),
        (["--config", "/nowhere/file"], {}, "/nowhere/file: No such file or directory"),
        ([], {"FIBSERVER_MEMORY_LIMIT": "many"}, "memory_limit: 'many': must be a size such as"),
        ([], {"FIBSERVER_IDLE_TIMEOUT": "-1"}, "idle_timeout: '-1': must be a number of seconds"),
        ([], {"FIBSERVER_PASSWORD_FILE": "/nowhere"}, "password_file: '/nowhere': cannot be read"),
    ],
)
def test_invalid_setting_fails_start(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    """An invalid setting fails the start with exit code 2 and one line that names it."""
    done = run_in_process(cli.main, *arguments, **environment)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"fibserver: {message}")
    assert done.stderr.count("\n") == 1


def test_unix_socket_in_missing_folder_fails_to_start() -> None:
    """A start on a Unix socket whose folder does not exist fails in the same way."""
    done = run_fibserver("--listen", "unix:/nowhere/socket")
    assert done.returncode == 2
    assert done.stderr.startswith("fibserver: cannot listen on unix:/nowhere/socket: No such")
    assert done.stderr.endswith("; create the directory of the socket first\n")
    assert done.stderr.count("\n") == 1


def test_each_invalid_setting_has_a_line() -> None:
    """Each invalid setting has a line of its own."""
    done = run_fibserver("--workers", "0", "--log-level", "loud", FIBSERVER_MAX_INDEX="-1")
    assert done.returncode == 2
    names = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert sorted(names) == ["log_level", "max_index", "workers"]


def test_address_in_use_fails_start(server: RunningServer) -> None:
    """A start on an address in use fails, and names the process that uses it."""
    done = run_fibserver("--listen", server.address)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    start = f"fibserver: cannot listen on {server.address}: Address already in use by "
    assert line.startswith(start)
    assert f"(pid {server.process.pid}); choose another port with --listen" in line


def test_exposed_passed_socket_needs_password() -> None:
    """An exposed socket from systemd needs a password too."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        done = run_with_sockets([sys.executable, "-m", "fibserver"], listener)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"fibserver: listen: '0.0.0.0:{port}': other machines can reach "
    )


# --check-config, --help and --version.


def test_check_config_accepts_valid_settings(server: RunningServer, tmp_path: Path) -> None:
    """Valid settings print one line, and no server starts."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    config = tmp_path / "fibserver.toml"
    config.write_text(f'listen = "{server.address}"\npassword_file = "{password}"')
    done = run_fibserver("--config", str(config), "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "fibserver: the configuration is fine\n"


def test_check_config_reports_errors_like_start(tmp_path: Path) -> None:
    """Invalid settings and passwords print the same errors as a failed start."""
    config = tmp_path / "fibserver.toml"
    for text in ("workers = 0", "worker = 1", 'password_file = "/dev/null"'):
        config.write_text(text)
        checked = run_in_process(cli.main, "--config", str(config), "--check-config")
        started = run_in_process(cli.main, "--config", str(config))
        assert (checked.exit_code, checked.stdout) == (started.exit_code, "") == (2, "")
        assert checked.stderr == started.stderr
        assert checked.stderr.count("\n") == 1


def test_misspelled_variable_is_a_warning(serve: Callable[..., RunningServer]) -> None:
    """A variable that resembles a setting is reported by the check and in the log."""
    warning = "FIBSERVER_WORKER is not a setting and is ignored; did you mean FIBSERVER_WORKERS?"
    checked = run_in_process(cli.main, "--check-config", FIBSERVER_WORKER="1")
    assert (checked.exit_code, checked.stderr) == (0, f"fibserver: warning: {warning}\n")
    assert f"WARNING fibserver.cli: {warning}" in serve(FIBSERVER_WORKER="1").log.read_text()


def test_fibserver_help_lists_options() -> None:
    """The help lists all options, with examples."""
    text = run_in_process(cli.main, "--help").stdout
    flags = "config listen workers state-dir metrics-listen log-level check-config version"
    assert all(f"--{flag}" in text for flag in flags.split())
    assert "\n    fibserver --config /etc/fibserver.toml --check-config\n" in text


def test_fibserver_version() -> None:
    """The command prints the version of the package."""
    assert run_fibserver("--version").stdout == f"fibserver, version {__version__}\n"


# Shortages.


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENOSPC])
def test_shortage_fails_start_of_fibserver_with_75(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary shortage exits with 75, after which systemd retries."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setenv("PYTHONSAFEPATH", "")  # the command sets it for its children
    monkeypatch.setattr(cli, "Acceptor", fail)
    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)
    done = run_in_process(cli.main, "--listen", "127.0.0.1:0")
    assert done.exit_code == 75
    assert os.strerror(number) in done.stderr


OUT_OF_MEMORY = """
import os
from fibserver import cli
from fibserver.acceptor import Acceptor

def tick(acceptor):
    os.write(1, b",".join(b"%d" % each.pid for each in acceptor._engine.pool.workers))
    raise {error}

Acceptor._tick = tick
if {closes_badly}:
    def close(acceptor):
        raise MemoryError
    from fibserver.network.connections import Clients
    Clients.close = close
cli.main(["--listen", "127.0.0.1:0", "--workers", "2"])
"""


@pytest.mark.parametrize(
    ("error", "closes_badly", "code"),
    [("MemoryError", False, 75), ("MemoryError", True, 75), ("RuntimeError", True, 1)],
)
def test_lack_of_memory_exits_with_75(error: str, closes_badly: bool, code: int) -> None:
    """A server without memory exits with 75, and its workers exit too, even if `close` fails."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY.format(error=error, closes_badly=closes_badly)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.endswith("fibserver: out of memory\n") == (code == 75)
    pids = done.stdout.split(",")
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), "the workers have ended")


def is_alive(pid: str) -> bool:
    """Return whether a process runs; zombies do not count."""
    return psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != "zombie"
