"""Output to files, continuation, and the progress bar."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fibclient import FibClient
from fibclient.cli.render.document_output import write_to_file
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from tests.support.expected import expected
from tests.support.fake_server import HangUp, fake_server, in_turn
from tests.support.fibclient_command import Terminal, fibclient, on_terminal
from tests.support.servers import RunningServer, direct_client

LONG = 20_000
"""Enough numbers for a progress bar: 41.8 MB of text."""


def test_output_option_replaces_file(server: RunningServer, tmp_path: Path) -> None:
    """`--output` writes the bytes of the format, and replaces the contents of the file."""
    path = tmp_path / "numbers"
    for n in (2000, 1000):
        done = fibclient("--server", server.address, "first", str(n), "--output", str(path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert path.read_bytes() == expected("text", 0, n)


def test_file_is_complete_on_terminal(server: RunningServer, tmp_path: Path) -> None:
    """A file gets all bytes when run on a terminal too, and may be binary."""
    path = tmp_path / "numbers"
    arguments = ["--server", server.address, "first", "900", "--output", str(path)]
    assert on_terminal(*arguments, "--format", "binary") == (0, "")
    assert path.read_bytes() == expected("binary", 0, 900)


def test_rejected_request_leaves_file_unchanged(server: RunningServer, tmp_path: Path) -> None:
    """A rejected request neither changes nor creates the file."""
    path = tmp_path / "numbers"
    arguments = ["--server", server.address, "first", "99999999999", "--output", str(path)]
    assert fibclient(*arguments).returncode == 1
    assert not path.exists()
    path.write_bytes(b"precious")
    assert fibclient(*arguments).returncode == 1
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("format", ["json", "text", "binary"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_continue_completes_file(
    server: RunningServer, tmp_path: Path, format: str, share: float
) -> None:
    """`--continue` completes a file, wherever its contents end."""
    path = tmp_path / "numbers"
    whole = expected(format, 0, 1500)
    whole = b"[" + whole + b"]\n" if format == "json" else whole
    path.write_bytes(whole[: int(len(whole) * share)])
    arguments = ["--server", server.address, "first", "1500", "--format", format]
    done = fibclient(*arguments, "--output", str(path), "--continue")
    assert (done.returncode, done.stdout) == (0, "")
    assert path.read_bytes() == whole
    assert bool(done.stderr) == (share == 1)


def test_continue_leaves_complete_file(server: RunningServer, tmp_path: Path) -> None:
    """A complete file is left unchanged and reported as complete."""
    path = tmp_path / "numbers"
    path.write_bytes(expected("text", 0, 100))
    arguments = ["--server", server.address, "first", "100", "--output", str(path)]
    done = fibclient(*arguments, "--continue")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{path} is complete: 1.2 kB\n"
    assert path.read_bytes() == expected("text", 0, 100)


def test_continue_creates_missing_file(server: RunningServer, tmp_path: Path) -> None:
    """`--continue` creates a missing file."""
    path = tmp_path / "numbers"
    arguments = ["--server", server.address, "range", "5", "9", "--output", str(path)]
    assert fibclient(*arguments, "--continue").returncode == 0
    assert path.read_bytes() == b"5\n8\n13\n21\n"


REMEDY = "name another file, or omit --continue to overwrite this one"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            expected("text", 0, 101), "it has 1,173 bytes, the output has 1,151", id="longer"
        ),
        pytest.param(expected("text", 1, 50), "its last 313 bytes differ", id="another range"),
        pytest.param(expected("csv", 0, 20), "its last 114 bytes differ", id="another format"),
        pytest.param(b"0\n1\n1\n2\n4", "its last 9 bytes differ", id="one digit"),
    ],
)
def test_continue_rejects_other_file(
    server: RunningServer, tmp_path: Path, content: bytes, reason: str
) -> None:
    """A file with other contents is a usage error and is left unchanged."""
    path = tmp_path / "numbers"
    path.write_bytes(content)
    arguments = ["--server", server.address, "first", "100", "--output", str(path)]
    done = fibclient(*arguments, "--continue")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"Error: {path} is not the beginning of this output: {reason}; {REMEDY}\n"
    )
    assert path.read_bytes() == content


def test_output_to_full_disk_fails(server: RunningServer) -> None:
    """A full disk gives exit code 1 and one line with the file's name."""
    done = fibclient("--server", server.address, "first", "5000", "--output", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == "fibclient: /dev/full: No space left on device\n"


def test_unwritable_file_fails(server: RunningServer, tmp_path: Path) -> None:
    """A file that cannot be opened gives exit code 1 and one line with its name."""
    path = tmp_path / "missing" / "numbers"
    done = fibclient("--server", server.address, "first", "5", "--output", str(path))
    assert done.returncode == 1
    assert done.stderr == f"fibclient: {path}: No such file or directory\n"


def test_large_output_has_progress_bar(server: RunningServer, tmp_path: Path) -> None:
    """Large output to a file has a progress bar; small output has none."""
    path = tmp_path / "numbers"
    arguments = ["--server", server.address, "first"]
    screen = on_terminal(*arguments, str(LONG), "--output", str(path), columns=100)
    assert screen.code == 0
    assert "100% 41.8/41.8 MB" in screen.lines[-1]
    assert path.read_bytes() == expected("text", 0, LONG)
    assert on_terminal(*arguments, "2000", "--output", str(path)) == (0, "")


def test_progress_bar_is_not_in_redirected_output(server: RunningServer, tmp_path: Path) -> None:
    """The bar is on standard error, not in the redirected output."""
    path = tmp_path / "numbers"
    with (
        path.open("wb") as file,
        Terminal("--server", server.address, "first", str(LONG), stdout=file) as terminal,
    ):
        screen = terminal.wait()
    assert "100%" in screen.text
    assert path.read_bytes() == expected("text", 0, LONG)


def test_interrupted_and_continued(server: RunningServer, tmp_path: Path) -> None:
    """Ctrl-C keeps the partial file and suggests --continue, which completes it."""
    path = tmp_path / "numbers"
    whole = expected("text", 0, LONG)
    beginning = whole[:100_000]
    arguments = ["first", str(LONG), "--output", str(path)]
    with (
        fake_server(in_turn(b"$%d\r\n%b" % (len(whole), beginning))) as stuck,
        Terminal("--server", stuck.address, *arguments, columns=120) as terminal,
    ):
        terminal.wait_for("0.1/41.8 MB")
        terminal.press("\x03")
        screen = terminal.wait()
    assert screen.code == 130
    hint = screen.lines[-1]
    assert hint.startswith(f"{path} has ")
    assert hint.endswith(" of 41.8 MB; repeat the command with --continue to resume")
    assert "Traceback" not in screen.text
    left = path.read_bytes()
    assert left
    assert beginning.startswith(left)
    assert fibclient("--server", server.address, *arguments, "--continue").returncode == 0
    assert path.read_bytes() == whole


def test_broken_reply_leaves_partial_file(tmp_path: Path) -> None:
    """A reply that breaks off leaves a partial file and the same suggestion."""
    path = tmp_path / "numbers"
    size = len(expected("text", 0, 96))
    script = in_turn(HangUp(b"$%d\r\n0\n1\n" % size), b"-ERR no more\r\n")
    with fake_server(script) as server:
        done = fibclient("--server", server.address, "first", "96", "--output", str(path))
    assert done.returncode == 1
    hint, error = done.stderr.splitlines()
    assert hint.startswith(f"{path} has 4 B of 1.1 kB;")
    assert error == f"fibclient: {server.address}: ERR no more"
    assert path.read_bytes() == b"0\n1\n"


class _InterruptedAtTheEnd(Document):
    """A document that is interrupted after its last byte."""

    def stream(
        self, client: FibClient, begin: int = 0, end: int | None = None
    ) -> Iterator[bytes | memoryview]:
        yield from super().stream(client, begin, end)
        raise KeyboardInterrupt


def test_interrupted_after_the_last_byte(
    server: RunningServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No continuation is suggested for a file that is complete."""
    path = tmp_path / "numbers"
    document = _InterruptedAtTheEnd(b"", EncodedSlice.of(0, 10, "text"), b"")
    with direct_client(server.address) as client, pytest.raises(KeyboardInterrupt):
        write_to_file(document, client, path, False)
    assert path.read_bytes() == expected("text", 0, 10)
    assert capfd.readouterr() == ("", "")
