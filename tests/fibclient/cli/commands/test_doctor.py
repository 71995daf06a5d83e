"""`doctor` against healthy and faulty servers and other peers."""

import json
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fibclient.cli.commands.test_verify import liar
from tests.support.fake_server import fake_server
from tests.support.fibclient_command import fibclient, on_terminal
from tests.support.servers import RunningServer

STEPS = ["name", "connect", "protocol", "password", "version", "latency"]
REDIS_READY = re.compile(r"connections at (\S+)")
HEALTH = ["workers", "memory", "/dev/shm", "clients", "errors", "snapshot", "numbers"]


class Diagnosis:
    """The output of the command.

    Attributes:
        code: The exit code.
        findings: The last finding of each check.
    """

    def __init__(self, address: str, *arguments: str) -> None:
        done = fibclient("--server", address, "--json", *arguments, "doctor")
        assert done.stderr == ""
        self.code = done.returncode
        self.findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
        for finding in self.findings.values():
            assert bool(finding["advice"]) == (finding["level"] != "ok")

    def assert_problem(self, check: str, text: str) -> None:
        """Assert that the last check, and no other, found a problem."""
        assert list(self.findings)[-1] == check
        levels = {name: finding["level"] for name, finding in self.findings.items()}
        assert levels.pop(check) == "problem"
        assert "problem" not in levels.values()
        assert text in self.findings[check]["text"]


@contextmanager
def peer(reply: bytes | None) -> Iterator[str]:
    """Run a server that sends the same reply to every client; None sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return  # the test is over
                with sock:
                    sock.recv(64)
                    sock.sendall(reply or b"")

        thread = threading.Thread(target=serve)
        if reply is not None:
            thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            if reply is not None:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def password_file(folder: Path, password: str) -> str:
    """Write a password file and return its path."""
    path = folder / f"{password}.txt"
    path.write_text(f"{password}\n")
    return str(path)


def test_doctor_with_healthy_server(serve: Callable[..., RunningServer]) -> None:
    """All checks run and are OK."""
    address = serve().address
    diagnosis = Diagnosis(address)
    assert diagnosis.code == 0
    assert list(diagnosis.findings) == STEPS + HEALTH
    levels = {check: finding["level"] for check, finding in diagnosis.findings.items()}
    assert levels.pop("latency") != "problem"
    assert levels.pop("/dev/shm") != "problem"  # shared with other processes on the machine
    assert set(levels.values()) == {"ok"}
    for finding in diagnosis.findings.values():
        assert (finding["server"], finding["place"]) == (address, address)


def test_doctor_prints_lines_without_terminal(server: RunningServer) -> None:
    """Without a terminal or --json, each finding is a line."""
    done = fibclient("--server", server.address, "doctor")
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert lines[0] == ["ok", "name", f"{server.address}:", "127.0.0.1 (IPv4)"]
    assert {line[0] for line in lines} <= {"ok", "warning"}


def test_doctor_on_terminal_shows_table(server: RunningServer) -> None:
    """A terminal shows a table and a verdict for each server."""
    screen = on_terminal("--server", f"{server.address},127.0.0.1:1", "doctor", columns=100)
    assert screen.code == 3
    assert "✓  password  not required" in screen.text
    assert "✗  connect  Connection refused" in screen.text
    assert "→ start a fibserver there" in screen.text
    assert "The server works" in screen.text or "The server is healthy." in screen.text
    assert "The server is unreachable." in screen.text


def test_doctor_checks_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """A Unix socket is examined too."""
    diagnosis = Diagnosis(serve("--listen", f"unix:{tmp_path}/fib.sock").address)
    assert diagnosis.code == 0
    assert diagnosis.findings["name"]["text"].endswith("fib.sock (Unix socket)")


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", "Connection refused"), ("unix:/nowhere/fib.sock", "No such file")],
)
def test_doctor_without_listener_ends_with_connection(address: str, reason: str) -> None:
    """If nothing listens, the diagnosis ends with the connection."""
    diagnosis = Diagnosis(address)
    assert diagnosis.code == 3
    diagnosis.assert_problem("connect", reason)


def test_doctor_reports_unknown_host_name() -> None:
    """A name that cannot be resolved is a problem."""
    diagnosis = Diagnosis("nowhere.invalid:11235")
    assert diagnosis.code == 3
    diagnosis.assert_problem("name", "cannot resolve nowhere.invalid:11235")


def test_doctor_reports_silent_peer() -> None:
    """A peer that accepts connections and sends nothing is unreachable."""
    with peer(None) as address:
        diagnosis = Diagnosis(address, "--timeout", "1")
    assert diagnosis.code == 3
    diagnosis.assert_problem("protocol", "sends nothing")


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (b"", 3, "closes the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 1, "a web server"),
        (b"\x15\x03\x03\x00\x02\x02\x46", 1, "TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 1, "SSH"),
        (b"hello\r\n", 1, "b'hello"),
    ],
)
def test_doctor_identifies_other_services(reply: bytes, code: int, text: str) -> None:
    """Other services are identified."""
    with peer(reply) as address:
        diagnosis = Diagnosis(address)
    assert diagnosis.code == code
    diagnosis.assert_problem("protocol", text)


def test_doctor_recognizes_redis(program: Callable[[str], str], tmp_path: Path) -> None:
    """A Redis is recognised, although it replies to PING and INFO."""
    path = tmp_path / "redis.sock"
    command = [program("redis-server"), "--port", "0", "--unixsocket", str(path), "--save", ""]
    redis = RunningServer(command, tmp_path / "redis.log", ready=REDIS_READY)
    try:
        diagnosis = Diagnosis(f"unix:{path}")
    finally:
        redis.stop()
    assert diagnosis.code == 1
    diagnosis.assert_problem("version", "the peer is Redis")


def test_missing_or_wrong_password_is_a_problem(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """A missing or a wrong password is a problem."""
    right, wrong = password_file(tmp_path, "right"), password_file(tmp_path, "wrong")
    address = serve(FIBSERVER_PASSWORD_FILE=right).address
    missing = Diagnosis(address)
    assert missing.code == 1
    missing.assert_problem("password", "required, but not given")
    mistaken = Diagnosis(address, "--password-file", wrong)
    assert mistaken.code == 1
    mistaken.assert_problem("password", "rejected: ")
    given = Diagnosis(address, "--password-file", right)
    assert given.code == 0
    assert list(given.findings) == STEPS + HEALTH


def test_needless_password_is_a_problem(server: RunningServer, tmp_path: Path) -> None:
    """A password is a problem if the server has none."""
    diagnosis = Diagnosis(server.address, "--password-file", password_file(tmp_path, "any"))
    assert diagnosis.code == 1
    diagnosis.assert_problem("password", "the server has none")


def test_stopped_workers_are_a_problem(serve: Callable[..., RunningServer]) -> None:
    """A server with stopped workers replies to PING but returns no numbers."""
    server = serve()
    workers = server.workers()
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    diagnosis = Diagnosis(server.address, "--timeout", "3")
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    assert diagnosis.code == 1
    diagnosis.assert_problem("numbers", "nothing received from")


def test_dead_worker_is_a_warning(serve: Callable[..., RunningServer]) -> None:
    """A dead worker is a warning."""
    server = serve()
    server.workers()[0].kill()
    server.wait_until(lambda running: running.info()["worker_deaths"] == "1", "a death is seen")
    diagnosis = Diagnosis(server.address)
    assert diagnosis.code == 0
    assert diagnosis.findings["workers"]["level"] == "warning"


def test_wrong_numbers_are_a_problem() -> None:
    """Wrong numbers are a problem."""
    lie = liar(50)

    def script(words: list[bytes]) -> bytes | Iterator[bytes] | None:
        if words[0] == b"FIB.RANGE":
            is_sample = words[4] == b"text" and int(words[2]) <= 1000
            return lie(words) if is_sample else b"-LIMIT too large\r\n"
        return b"$23\r\nfibserver_version:0.1.0\r\n" if words[0] == b"INFO" else b"*0\r\n"

    with fake_server(script) as server:
        diagnosis = Diagnosis(server.address)
    assert diagnosis.code == 1
    diagnosis.assert_problem("numbers", "F(50) is wrong")


def test_samples_beyond_limits_are_no_problem(serve: Callable[..., RunningServer]) -> None:
    """Numbers beyond the server's limits are not a problem."""
    diagnosis = Diagnosis(serve(FIBSERVER_MAX_INDEX="500").address)
    assert diagnosis.code == 0
    assert "up to F(99);" in diagnosis.findings["numbers"]["text"]


def test_small_shared_memory_has_advice(
    serve: Callable[..., RunningServer], mounting: Callable[[str], list[str]]
) -> None:
    """If /dev/shm is too small for memory_limit, the advice is to enlarge it."""
    under = mounting("mount -t tmpfs -o size=24m tmpfs /dev/shm")
    diagnosis = Diagnosis(serve(under=under).address)
    assert diagnosis.code == 0
    assert diagnosis.findings["/dev/shm"]["level"] == "warning"
    assert "remount,size=" in diagnosis.findings["/dev/shm"]["advice"]
