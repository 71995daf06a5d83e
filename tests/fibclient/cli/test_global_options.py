"""Options before and after a command's name, and the settings file."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.fibclient_command import COMMAND, fibclient
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "{}", "--json", "first", "3"],
        ["first", "3", "--json", "--server", "{}"],
        ["first", "--json", "3", "-s", "{}"],
        ["--json", "first", "3", "-s{}"],
        ["-s", "a/b", "first", "3", "-s", "{}", "--json"],
        ["-s", NOBODY, "--json", "first", "-s", "{}", "3", "--json"],
        ["first", "3", "-s", "{}", "-f", "json", "-o", "-"],
    ],
)
def test_options_are_allowed_anywhere(server: RunningServer, arguments: list[str]) -> None:
    """Options have the same effect before and after the command's name; the last one counts."""
    done = fibclient(*(argument.format(server.address) for argument in arguments))
    assert (done.returncode, done.stdout, done.stderr) == (0, '["0","1","1"]\n', "")


@pytest.mark.parametrize("command", ["ping", "info", "doctor", "verify 1", "digits 5", "bench"])
def test_all_commands_have_all_options(command: str) -> None:
    """Each command has the options of the group, and converts them."""
    done = fibclient(*command.split(), "--timeout", "0")
    assert done.returncode == 2
    assert "Invalid value for '--timeout'" in done.stderr
    done = fibclient(*command.split(), "--password-file", "/nowhere")
    assert done.returncode == 2
    assert "/nowhere" in done.stderr
    assert fibclient(*command.split(), "--version").stdout.startswith("fibclient, version ")


def test_text_after_dashes_is_no_option() -> None:
    """After --, a text is an argument."""
    done = fibclient("first", "--", "--json")
    assert done.returncode == 2
    assert "'--json' is not a whole number" in done.stderr


def write(home: Path, text: str) -> Path:
    """Write the settings file below an XDG_CONFIG_HOME."""
    path = home / "fibclient" / "config.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.fixture
def without_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file is that of the user."""
    monkeypatch.delenv("FIBCLIENT_CONFIG")


@pytest.mark.usefixtures("without_choice")
def test_option_variable_and_file_in_order(server: RunningServer, tmp_path: Path) -> None:
    """An option takes precedence over a variable, and this over the settings file."""
    home = str(tmp_path)
    assert fibclient("-s", server.address, "ping", XDG_CONFIG_HOME=home).returncode == 0
    path = write(tmp_path, f'server = ["{server.address}"]\ntimeout = 5\n')
    assert fibclient("ping", XDG_CONFIG_HOME=home).returncode == 0
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "fibclient").symlink_to(path.parent)
    assert fibclient("ping", HOME=home, XDG_CONFIG_HOME="").returncode == 0
    assert fibclient("ping", FIBCLIENT_CONFIG=str(path)).returncode == 0
    path.write_text(f'server = "{NOBODY}"\ntimeout = 0.1\n')
    assert fibclient("ping", XDG_CONFIG_HOME=home).returncode == 3
    environment = {"XDG_CONFIG_HOME": home, "FIBCLIENT_SERVER": server.address}
    assert fibclient("ping", **environment).returncode == 0
    assert fibclient("ping", "-s", NOBODY, **environment).returncode == 3


@pytest.mark.usefixtures("without_choice")
def test_password_file_is_relative_to_settings(tmp_path: Path) -> None:
    """A path in the settings file is relative to its folder."""
    path = write(tmp_path, 'password_file = "password"\n')
    done = fibclient("ping", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 2
    assert str(path.parent / "password") in done.stderr


@pytest.mark.usefixtures("without_choice")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('sever = "a"', "unknown setting 'sever'; did you mean server?"),
        ("json = true", "unknown setting 'json'; the settings are server, timeout, password_file"),
        ("server = 5:3", "line 1"),
        ('server = "a/b"', "server: address 'a/b' is neither"),
        ("server = []", "server: [] is no text, number or list"),
        ("timeout = true", "timeout: True is no text, number or list"),
        ('timeout = "soon"', "timeout: 'soon' is not a number of seconds"),
        ("timeout = -1", "timeout: -1 is out of range"),
        ('password_file = "none"', "password_file: File"),
    ],
)
def test_invalid_file_is_one_error(tmp_path: Path, text: str, reason: str) -> None:
    """An invalid settings file is a usage error, whose line has the file, name and value."""
    path = write(tmp_path, text)
    done = fibclient("ping", XDG_CONFIG_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {path}: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert fibclient("--help", XDG_CONFIG_HOME=str(tmp_path)).returncode == 0


def test_missing_chosen_file_is_an_error(tmp_path: Path) -> None:
    """A file that FIBCLIENT_CONFIG names must exist."""
    done = fibclient("ping", FIBCLIENT_CONFIG=str(tmp_path / "none"))
    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_named_pipe_is_an_error(tmp_path: Path) -> None:
    """A named pipe as the settings file is an error: nobody may ever write to it."""
    path = tmp_path / "config.toml"
    os.mkfifo(path)
    done = fibclient("ping", FIBCLIENT_CONFIG=str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: {path}: a named pipe, but the settings must be in a regular file\n"
    )


def test_pipe_of_the_shell_has_settings() -> None:
    """The settings file may be the pipe of a shell's `<(…)`."""
    reader, writer = os.pipe()
    with open(reader, "rb"):
        with open(writer, "w") as file:
            file.write(f'server = "{NOBODY}"\n')
        environment = {**os.environ, "FIBCLIENT_CONFIG": f"/dev/fd/{reader}"}
        done = subprocess.run(
            [*COMMAND, "ping"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            pass_fds=[reader],
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 3
    assert NOBODY in done.stderr


def test_error_names_variable() -> None:
    """The error for an invalid value of a variable names the variable."""
    done = fibclient("ping", FIBCLIENT_TIMEOUT="soon")
    assert done.returncode == 2
    assert "Invalid value for FIBCLIENT_TIMEOUT: 'soon' is not a number" in done.stderr
