"""Options before a command's name, and exit codes of invalid commands."""

from pathlib import Path

import pytest

from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer


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
def test_fibclient_exit_codes(server: RunningServer, arguments: list[str], code: int) -> None:
    """Each failure has its exit code and a message on standard error."""
    done = fibclient("--server", server.address, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_invalid_address_is_usage_error() -> None:
    """An invalid address is a usage error."""
    assert fibclient("--server", "nonsense", "ping").returncode == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\n", "is not UTF-8"), (b"", "must have 1 to"), (b"\nsecond\n", "must have 1 to")],
)
def test_file_without_password_is_usage_error(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file without a valid password gives exit code 2 and a line with its name."""
    path = tmp_path / "password"
    path.write_bytes(content)
    done = fibclient("--password-file", str(path), "ping")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert reason in done.stderr


def test_fibclient_help_documents_exit_codes() -> None:
    """The help documents the exit codes and where errors are printed."""
    text = " ".join(fibclient("--help").stdout.split())
    assert "3 the server is unreachable" in text
    assert "standard error as plain text, even with --json" in text
