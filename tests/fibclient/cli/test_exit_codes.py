"""Exit codes, signals and one-line error messages."""

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from fibclient.cli.exit_codes import exit_code, hint_for
from fibclient.errors import (
    DeadlineExceeded,
    FibError,
    NotFibserver,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
    SocketShortage,
)
from tests.support.expected import expected
from tests.support.fake_server import fake_server, in_turn
from tests.support.fibclient_command import COMMAND, Terminal, fibclient
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

ENDING_SIGNALS = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (RequestRefused("NOAUTH Authentication required."), 1, "--password-file FILE"),
        (RequestRefused("NOAUTH Authentication required."), 1, " Pass the password with"),
        (RequestRefused("WRONGPASS invalid"), 1, "; compare the first line of --password-file"),
        (RequestRefused("ERR AUTH <password> called without any"), 1, "omit --password-file"),
        (RequestRefused("ERR AUTH <password> called without. Are you sure?"), 1, " Omit "),
        (RequestRefused("ERR max number of clients reached"), 1, "raise max_clients"),
        (RequestRefused("LIMIT F(9) is too large: max_index is 8"), 1, "`fibclient digits N`"),
        (RequestRefused("ERR unknown command 'FIB.RANGE'"), 1, "not a fibserver"),
        (RequestRefused("ERR unknown command 'FIB.RANGE', with args: '0' "), 1, "; this is not"),
        (RequestRefused("LIMIT too much"), 1, ""),
        (ServerMisbehaved("invalid reply: b'HTTP'"), 1, "see `fibclient doctor`"),
        (ServerUnreachable("cannot connect"), 3, "`systemctl status fibserver`"),
        (ServerUnreachable("cannot connect"), 3, "FIBCLIENT_SERVER"),
        (ServerUnreachable("cannot connect"), 3, "see `fibclient doctor`"),
        (ServerUnreachable("nothing received from a:1 for 1 s"), 3, "may hang or be stopped"),
        (ServerUnreachable("cannot resolve a:1: no"), 3, "correct the name in --server"),
        (DeadlineExceeded("too late"), 3, "--timeout SECONDS, or see `fibclient doctor`"),
        (SocketShortage("no descriptors"), 3, "`ulimit -n`"),
        (NotFibserver("invalid reply; this is a web server"), 1, ""),
        (FibError("else"), 1, ""),
    ],
)
def test_each_failure_has_exit_code_and_advice(error: FibError, code: int, hint: str) -> None:
    """Each failure has its exit code, and some have advice."""
    assert exit_code(error) == code
    assert hint in hint_for(error)
    assert bool(hint) == bool(hint_for(error))


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (
            b"-NOAUTH no\r\n",
            "NOAUTH no; pass the password with --password-file FILE or FIBCLIENT_PASSWORD_FILE",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            "invalid reply: b'HTTP/1.1 400 Bad Request'; this is a web server: "
            "fibserver's default port is 11235",
        ),
        (
            b"\x15\x03\x03\0\x02\x02\x46",
            "invalid reply: b'\\x15\\x03\\x03\\x00\\x02\\x02F'; this is a TLS server: "
            "fibserver's default port is 11235",
        ),
        (
            b"hello\r\n",
            "invalid reply: b'hello'; this is not a fibserver, or another version of it: "
            "see `fibclient doctor`",
        ),
    ],
)
@pytest.mark.parametrize("command", [["first", "10"], ["ping"], ["info"]])
def test_error_line_names_server_and_advice(reply: bytes, line: str, command: list[str]) -> None:
    """The line on standard error has the server, the error and advice."""
    with fake_server(in_turn(reply), answers_pings=False) as server:
        done = fibclient("--server", server.address, *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fibclient: {server.address}: {line}\n"


@pytest.mark.parametrize("n", ["10", "1000"])
def test_unwritable_standard_output_fails(server: RunningServer, n: str) -> None:
    """Standard output that cannot be written gives exit code 1 and one line."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "--server", server.address, "first", n],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"fibclient: No space left on device\n"


@pytest.mark.parametrize("n", [5_000, 100_000])
def test_reader_that_closes_pipe_is_no_error(server: RunningServer, n: int) -> None:
    """A reader that closes the pipe early is not an error, whatever the output's size."""
    request_slice = " ".join([*COMMAND, "--server", server.address, "first", str(n)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {request_slice} | head -n 1"],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")


@pytest.mark.parametrize("arguments", [["first", "10"], ["info"], ["ping"]])
def test_pipe_closed_at_once_is_no_error(server: RunningServer, arguments: list[str]) -> None:
    """A pipe that is closed before the first byte is not an error."""
    sample, writing = os.pipe()
    os.close(sample)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, "--server", server.address, *arguments],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # buffered, so that it fails only at exit
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_interrupted_command_exits_with_130() -> None:
    """SIGINT ends a command that waits for a server without a message, with code 130."""
    with fake_server(in_turn(None)) as server:
        running = subprocess.Popen(
            [*COMMAND, "--server", server.address, "first", "10"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert server.was_asked.wait(DEADLINE_SECONDS)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=DEADLINE_SECONDS) == (b"", b"")
        assert running.returncode == 130


def test_ctrl_c_on_terminal_prints_no_message() -> None:
    """Ctrl-C ends a command after some of the numbers without a message."""
    with (
        fake_server(in_turn(b"$29\r\n0\n1\n1\n")) as server,
        Terminal("--server", server.address, "first", "12") as terminal,
    ):
        terminal.wait_for("F(2)   1\n")
        terminal.press("\x03")
        screen = terminal.wait()
    assert screen.code == 130
    assert screen.lines == ["F(0)   0", "F(1)   1", "F(2)   1", "^C"]


@pytest.mark.parametrize("number", ENDING_SIGNALS)
@pytest.mark.parametrize(
    ("command", "sign"),
    [
        (["top"], "resident"),
        (["bench", "--seconds", "9999"], "/s"),
        (["verify", "9000000"], "MB/s"),
    ],
)
def test_signal_restores_terminal(
    server: RunningServer, number: signal.Signals, command: list[str], sign: str
) -> None:
    """SIGTERM and SIGHUP restore the terminal and determine the exit code."""
    with Terminal("--server", server.address, *command, rows=30, columns=100) as terminal:
        before = terminal.settings
        terminal.wait_for(sign)
        terminal.send(number)
        screen = terminal.wait()
        assert terminal.settings == before
    assert screen.code == 128 + number
    assert screen.raw.rindex("\x1b[?25l") < screen.raw.rindex("\x1b[?25h")
    assert screen.raw.count("\x1b[?1049h") == screen.raw.count("\x1b[?1049l")
    assert "Traceback" not in screen.text


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_signal_keeps_partial_file(tmp_path: Path, number: signal.Signals) -> None:
    """A signal keeps the partial file and suggests --continue."""
    path = tmp_path / "numbers"
    whole = expected("text", 0, 20_000)
    script = in_turn(b"$%d\r\n%b" % (len(whole), whole[:100_000]))
    arguments = ["first", "20000", "--output", str(path)]
    with (
        fake_server(script) as stuck,
        Terminal("--server", stuck.address, *arguments, columns=120) as terminal,
    ):
        terminal.wait_for("0.1/41.8 MB")
        wait_until(lambda: path.stat().st_size == 100_000, "all that has come is in the file")
        terminal.send(number)
        screen = terminal.wait()
    assert screen.code == 128 + number
    assert "repeat the command with --continue to resume" in screen.lines[-1]
    assert path.read_bytes() == whole[:100_000]


def test_nohup_ignores_sighup() -> None:
    """SIGHUP is ignored under nohup."""
    with fake_server(in_turn(None)) as server:
        running = subprocess.Popen(
            ["nohup", *COMMAND, "--server", server.address, "first", "10"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert server.was_asked.wait(DEADLINE_SECONDS)
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=DEADLINE_SECONDS)
        assert running.returncode == 130


def test_ctrl_c_during_imports_prints_no_traceback(tmp_path: Path) -> None:
    """Ctrl-C during the imports prints no traceback."""
    # Importing this module sends the signal.
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = fibclient("first", "10", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["first", "--help"], ["--version"]])
def test_unwritable_help_fails(arguments: list[str]) -> None:
    """For help too, a full disk is an error and a closed pipe is not."""
    sample, writing = os.pipe()
    os.close(sample)
    for target, ending in (
        (os.open("/dev/full", os.O_WRONLY), (1, b"fibclient: No space left on device\n")),
        (writing, (0, b"")),
    ):
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=target,
            stderr=subprocess.PIPE,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        os.close(target)
        assert (done.returncode, done.stderr) == ending


def test_full_disk_keeps_partial_file(server: RunningServer, tmp_path: Path) -> None:
    """A file that cannot grow is kept, and --continue is suggested."""
    path = tmp_path / "numbers"
    done = subprocess.run(
        [*COMMAND, "--server", server.address, "first", "3000", "--output", str(path)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        timeout=DEADLINE_SECONDS,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    hint, error = done.stderr.splitlines()
    assert hint.startswith(f"{path} has 1.0 kB of ")
    assert hint.endswith("; repeat the command with --continue to resume")
    assert error == f"fibclient: {path}: File too large"
