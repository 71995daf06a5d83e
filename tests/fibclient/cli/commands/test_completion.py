"""`completion`: the scripts, and the completions they offer."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fibclient_command import fibclient
from tests.support.waiting import DEADLINE_SECONDS

NO_FOLDERS = {
    "XDG_CONFIG_HOME": "",
    "XDG_DATA_HOME": "",
    "ZDOTDIR": "",
    "BASH_COMPLETION_USER_DIR": "",
}
"""Variables that would name other folders than those below the home directory."""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    """Each shell has its script, which calls the command."""
    done = fibclient("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_FIBCLIENT_COMPLETE={shell}_complete" in done.stdout


def test_invalid_defaults_do_not_matter(tmp_path: Path) -> None:
    """The script needs no settings, so invalid ones are no error; invalid options are."""
    path = tmp_path / "config.toml"
    path.write_text("server = 5:3")
    done = fibclient(
        "completion",
        "bash",
        FIBCLIENT_CONFIG=str(path),
        FIBCLIENT_TIMEOUT="soon",
        FIBCLIENT_PASSWORD_FILE="/nowhere",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert fibclient("completion", "bash", "--timeout", "soon").returncode == 2


def test_bash_registers_completion() -> None:
    """bash registers a completion for `fibclient` from the script."""
    done = subprocess.run(
        ["bash", "--norc", "-c", "source /dev/stdin && complete -p fibclient"],
        input=fibclient("completion", "bash").stdout,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.stdout.endswith(" fibclient\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("first --format ", "json text csv ndjson bfile binary"),
        ("number 5 --format b", "bfile binary"),
        ("completion ", "bash zsh fish"),
        ("range 5 --con", "--continue"),
        ("info com", "commandstats"),
        ("ping --pass", "--password-file"),
        ("first 5 --jso", "--json"),
    ],
)
def test_completions_for_words(words: str, completions: str) -> None:
    """The command returns the completions for the script's words."""
    done = fibclient(
        _FIBCLIENT_COMPLETE="bash_complete",
        COMP_WORDS=f"fibclient {words}",
        COMP_CWORD=str(words.count(" ") + 1),
    )
    assert [line.partition(",")[2] for line in done.stdout.split()] == completions.split()


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", ".local/share/bash-completion/completions/fibclient"),
        ("zsh", ".zfunc/_fibclient"),
        ("fish", ".config/fish/completions/fibclient.fish"),
    ],
)
def test_install_writes_script_once(tmp_path: Path, shell: str, path: str) -> None:
    """`--install` writes the script of the user's shell, says where, and can be repeated."""
    environment = {"HOME": str(tmp_path), "SHELL": f"/usr/bin/{shell}", **NO_FOLDERS}
    done = fibclient("completion", "--install", **environment)
    assert done.returncode == 0
    assert f"wrote {tmp_path / path}\n" in done.stdout
    assert (tmp_path / path).read_text() == fibclient("completion", shell).stdout

    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    again = fibclient("completion", shell, "--install", **environment)
    assert again.returncode == 0
    assert all(line.endswith(" is up to date") for line in again.stdout.splitlines())
    assert {file: file.read_bytes() for file in before} == before


def test_install_extends_startup_file_of_zsh(tmp_path: Path) -> None:
    """For zsh, a line is added to .zshrc, whatever its encoding and last line."""
    startup = tmp_path / ".zshrc"
    startup.write_bytes(b"# \xe9\nalias l=ls")
    for _ in range(2):
        done = fibclient("completion", "zsh", "--install", HOME=str(tmp_path), **NO_FOLDERS)
        assert done.returncode == 0
        lines = startup.read_bytes().splitlines()
        assert lines[:2] == [b"# \xe9", b"alias l=ls"]
        assert lines[2:] == [
            b"fpath+=(%b); autoload -Uz compinit; compinit" % bytes(tmp_path / ".zfunc")
        ]


def test_unknown_shell_is_usage_error(tmp_path: Path) -> None:
    """Without an argument, $SHELL must name a shell that can complete."""
    done = fibclient("completion", "--install", SHELL="/bin/dash", HOME=str(tmp_path))
    assert done.returncode == 2
    assert "bash, zsh, fish" in done.stderr
    assert not [*tmp_path.iterdir()]


def test_install_into_unwritable_folder_fails() -> None:
    """A folder that cannot be written gives one line and exit code 1."""
    done = fibclient("completion", "fish", "--install", HOME="/dev/null", **NO_FOLDERS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fibclient: /dev/null/.config/fish")
    assert done.stderr.count("\n") == 1
