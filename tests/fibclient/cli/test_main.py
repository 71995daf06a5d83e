"""The command group: help, suggestions, messages in JSON and exit codes."""

import json
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
    done = fibclient("--server", "a/b", "ping")
    assert done.returncode == 2
    assert "Invalid value for '--server'" in done.stderr


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
    """The help documents the exit codes, messages in JSON, and the settings file."""
    text = " ".join(fibclient("--help").stdout.split())
    assert "3 the server is unreachable" in text
    assert "With --json, each is a JSON object" in text
    assert "~/.config/fibclient/config.toml" in text


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("command", ["", "first", "top", "completion"])
def test_help_fits_and_is_whole(columns: str, command: str) -> None:
    """Help has whole sentences, and only preformatted lines are longer than the terminal."""
    arguments = [command, "--help"] if command else ["--help"]
    text = fibclient(*arguments, COLUMNS=columns).stdout
    prose = text.partition("Examples:")[0] + text.partition("Options:")[2]
    assert max(map(len, prose.splitlines())) <= int(columns)
    assert "..." not in text.replace("[ARGS]...", "")
    if not command:
        words = " ".join(text.split())
        assert (
            "digits Print how many decimal digits F(N) has, the first and the last ones." in words
        )


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["frist", "10"], "Did you mean 'first'?"),
        (["numbers", "10"], "Did you mean 'number'?"),
        (["first", "10", "--jsno"], "'--json'"),
        (["--sever", "a", "ping"], "Did you mean one of: '--server'"),
        (
            ["-f", "csv", "first", "10"],
            "Option '-f' must follow the command: it belongs to 'first'",
        ),
        (["first", "10", "--ouput", "x"], "Did you mean one of: '--output'"),
    ],
)
def test_slip_gets_a_suggestion(arguments: list[str], suggestion: str) -> None:
    """The error for a misspelled command or option names the nearest one."""
    done = fibclient(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert suggestion in done.stderr


def test_misspelled_section_gets_a_suggestion(server: RunningServer) -> None:
    """The error for a misspelled section of INFO names the nearest one."""
    done = fibclient("--server", server.address, "info", "memroy")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("has no section 'memroy'; did you mean memory?\n")


def test_misspelled_variable_gets_a_warning() -> None:
    """A variable that resembles a setting is reported with the name of that; others are not."""
    done = fibclient("completion", "bash", FIBCLIENT_SERVERS="a", FIBCLIENT_SERVICE_HOST="b")
    assert done.returncode == 0
    assert done.stderr == (
        "fibclient: FIBCLIENT_SERVERS is not a setting and is ignored; "
        "did you mean FIBCLIENT_SERVER?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--server", "127.0.0.1:1", "ping", "--json", "--nonsense"],
            {"error": "No such option '--nonsense'.", "code": "usage", "exit_code": 2},
        ),
        (["--json"], {"error": "Missing command.", "code": "usage", "exit_code": 2}),
        (
            ["frist", "--json"],
            {
                "error": "No such command 'frist'. Did you mean 'first'?",
                "code": "usage",
                "exit_code": 2,
            },
        ),
    ],
)
def test_usage_error_in_json(arguments: list[str], message: dict[str, object]) -> None:
    """With --json, a usage error is an object on standard error."""
    done = fibclient(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr) == message


def test_error_of_server_in_json(server: RunningServer) -> None:
    """With --json, an error has the server's code, and advice if there is any."""
    done = fibclient("-s", server.address, "first", "99999999999", "--json")
    message = json.loads(done.stderr)
    assert (message["code"], message["server"]) == ("LIMIT", server.address)
    assert message["exit_code"] == done.returncode == 1

    done = fibclient("-s", "127.0.0.1:1", "first", "1", "--json", "--timeout", "0.1")
    message = json.loads(done.stderr)
    assert message.keys() == {"error", "code", "advice", "exit_code"}
    assert (message["code"], message["exit_code"], done.returncode) == ("unreachable", 3, 3)


def test_error_of_output_in_json(server: RunningServer) -> None:
    """With --json, an error of the output is an object too."""
    done = fibclient("-s", server.address, "first", "1", "--json", "-o", "/nowhere/file")
    assert done.returncode == 1
    assert json.loads(done.stderr) == {
        "error": "/nowhere/file: No such file or directory",
        "code": "system",
        "exit_code": 1,
    }
