"""What stands before a command's name, and the exit codes of commands that cannot be."""

from pathlib import Path

import pytest

from tests.fibclient.cli.running import fibclient
from tests.servers import RunningServer


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["first", "99999999999"], 1),
        (["number", str(2**63 - 2)], 1),
        (["first", "-1"], 2),
        (["first", "ten"], 2),
        (["first", "1.5"], 2),
        (["first", ""], 2),
        (["first", "9" * 5000], 2),
        (["first", str(2**63)], 2),
        (["number", str(2**63 - 1)], 2),
        (["range", "5", "4"], 2),
        (["range", "0", str(2**63)], 2),
        (["first", "1", "--format", "array"], 2),
        (["first", "1", "--continue"], 2),
        (["--json", "first", "1", "--format", "csv"], 2),
        (["ping", "--count", "0"], 2),
        (["info", "nonsense"], 1),
        (["completion", "tcsh"], 2),
        (["frist", "10"], 2),
    ],
)
def test_exit_codes(server: RunningServer, arguments: list[str], code: int) -> None:
    """Each kind of failure has its exit code, and says why in one place."""
    done = fibclient("--server", server.address, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_bad_address() -> None:
    """An address that is none is a usage error."""
    assert fibclient("--server", "nonsense", "ping").returncode == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\n", "is not UTF-8"), (b"", "must have 1 to"), (b"\nsecond\n", "must have 1 to")],
)
def test_a_file_without_a_password(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that has no password is exit code 2, and a line that names it."""
    path = tmp_path / "password"
    path.write_bytes(content)
    done = fibclient("--password-file", str(path), "ping")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert reason in done.stderr


def test_help() -> None:
    """The help tells the exit codes, and where errors are told."""
    text = " ".join(fibclient("--help").stdout.split())
    assert "3 the server is out of reach" in text
    assert "standard error, with --json as well" in text
