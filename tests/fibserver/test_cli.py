"""The `fibserver` command: its flags, and starts that fail."""

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
from click.testing import CliRunner
from redis.backoff import NoBackoff
from redis.retry import Retry

from fibserver import __version__, cli
from tests.pass_sockets import run_with_sockets
from tests.servers import DEADLINE_SECONDS, RunningServer, direct_client
from tests.waiting import wait_until


def run_fibserver(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where it is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "fibserver", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env=environment,
    )


# The start.


def test_settings_are_used(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The server runs with the settings of its file, its environment and its flags."""
    config = tmp_path / "fibserver.toml"
    config.write_text('listen = "127.0.0.1:0"\nworkers = 7\nlog_format = "json"\nmax_index = 5')
    server = serve(
        *("--config", str(config), "--listen", "127.0.0.1:0", "--workers", "1"),
        FIBSERVER_LOG_LEVEL="info",
    )
    assert len(server.workers()) == 1
    messages = [json.loads(line)["message"] for line in server.log.read_text().splitlines()]
    assert f"ready on {server.address} with 1 workers" in messages


def test_a_stale_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The socket file of a killed server does not stop the next start; a live one's does."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop(9)
    assert (tmp_path / "socket").exists()
    serve("--listen", address)
    assert run_fibserver("--listen", address).returncode == 2
    with direct_client(address) as client:
        client.ping()


def test_what_can_be_read_only_once(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Settings and password may come from pipes: a start reads each once."""
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
    """Make a named pipe, and write to the first that opens it."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=[data], daemon=True).start()
    return path


def test_code_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the server nor a child of it runs modules of the folder that it was started in."""
    proof = tmp_path / "ran"
    (tmp_path / "folder").mkdir()
    for name in ("ctypes", "multiprocessing", "signal", "os"):
        (tmp_path / "folder" / f"{name}.py").write_text(f"open({str(proof)!r}, 'w')")
    # As an installed command does, it puts its own folder on the path, and not the working one.
    command = tmp_path / "fibserver"
    command.write_text("from fibserver.cli import main\nmain()")
    monkeypatch.chdir(tmp_path / "folder")
    server = RunningServer(
        [sys.executable, str(command), "--listen", "127.0.0.1:0"], tmp_path / "log"
    )
    assert server.stop() == 0
    assert not proof.exists()


# A start that fails.


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--workers", "0"], {}, "workers: '0': must be a whole number"),
        (["--workers", "many"], {}, "workers: 'many': must be a whole number"),
        (["--listen", "nowhere"], {}, "listen: 'nowhere': must be "),
        (["--listen", "0.0.0.0:0"], {}, "listen: '0.0.0.0:0': can be reached from other mach"),
        (["--log-level", "loud"], {}, "log_level: 'loud': must be "),
        (["--state-dir", "here"], {}, "state_dir: 'here': must be "),
        (["--metrics-listen", "here"], {}, "metrics_listen: 'here': must be "),
        (["--config", "/nowhere/file"], {}, "/nowhere/file: No such file or directory"),
        ([], {"FIBSERVER_MEMORY_LIMIT": "many"}, "memory_limit: 'many': must be a size such as"),
        ([], {"FIBSERVER_IDLE_TIMEOUT": "-1"}, "idle_timeout: '-1': must be a number of seconds"),
        ([], {"FIBSERVER_PASSWORD_FILE": "/nowhere"}, "password_file: '/nowhere': cannot be read"),
        (
            ["--listen", "unix:/nowhere/socket"],
            {},
            "cannot listen on unix:/nowhere/socket: No such",
        ),
    ],
)
def test_bad_settings(arguments: list[str], environment: dict[str, str], message: str) -> None:
    """A bad setting stops the start with one line that names it, and a code of its own."""
    done = run_fibserver(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fibserver: {message}")
    assert done.stderr.count("\n") == 1


def test_several_bad_settings() -> None:
    """Each bad setting has a line."""
    done = run_fibserver("--workers", "0", "--log-level", "loud", FIBSERVER_MAX_INDEX="-1")
    assert done.returncode == 2
    names = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert sorted(names) == ["log_level", "max_index", "workers"]


def test_an_address_in_use(server: RunningServer) -> None:
    """An address that another server has is a failed start."""
    done = run_fibserver("--listen", server.address)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    start = f"fibserver: cannot listen on {server.address}: Address already in use by "
    assert line.startswith(start)
    assert f"(pid {server.process.pid}); choose another port with --listen" in line


def test_a_passed_socket_that_exposes() -> None:
    """A socket from systemd that other machines can reach needs a password as well."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        done = run_with_sockets([sys.executable, "-m", "fibserver"], listener)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fibserver: listen: '0.0.0.0:{port}': can be reached from ")


# --check-config, --help and --version.


def test_check_config(server: RunningServer, tmp_path: Path) -> None:
    """Fine settings are told to be fine in one line, and nothing is started."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    config = tmp_path / "fibserver.toml"
    config.write_text(f'listen = "{server.address}"\npassword_file = "{password}"')
    done = run_fibserver("--config", str(config), "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "fibserver: the configuration is fine\n"


def test_check_config_finds_what_a_start_would(tmp_path: Path) -> None:
    """Bad settings, and a bad password, are told as a failed start tells them."""
    config = tmp_path / "fibserver.toml"
    for text in ("workers = 0", "worker = 1", 'password_file = "/dev/null"'):
        config.write_text(text)
        checked = run_fibserver("--config", str(config), "--check-config")
        started = run_fibserver("--config", str(config))
        assert (checked.returncode, checked.stdout) == (2, "")
        assert checked.stderr == started.stderr
        assert checked.stderr.count("\n") == 1


def test_help() -> None:
    """The help lists the flags, with examples."""
    text = run_fibserver("--help").stdout
    flags = "config listen workers state-dir metrics-listen log-level check-config version"
    assert all(f"--{flag}" in text for flag in flags.split())
    assert "\n    fibserver --config /etc/fibserver.toml --check-config\n" in text


def test_version() -> None:
    """The version is that of the package."""
    assert run_fibserver("--version").stdout == f"fibserver, version {__version__}\n"


# A shortage.


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENOSPC])
def test_a_shortage_at_the_start(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass has an exit code after which systemd tries again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setenv("PYTHONSAFEPATH", "")  # the command sets it, for its children
    monkeypatch.setattr(cli, "Acceptor", fail)
    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)
    # What the command sets in the environment ends with it: it runs in this process.
    environment = {"PYTHONSAFEPATH": os.environ.get("PYTHONSAFEPATH")}
    done = CliRunner().invoke(cli.main, ["--listen", "127.0.0.1:0"], env=environment)
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
def test_memory_runs_out(error: str, closes_badly: bool, code: int) -> None:
    """A server without memory ends with a code of its own, and whatever ends it, even if closing
    needs memory too, its workers end with it."""
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
    """Return whether a process runs; a zombie does not."""
    return psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != "zombie"
