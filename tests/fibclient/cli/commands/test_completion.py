"""`completion`: the scripts, and the completions they offer."""

import subprocess

import pytest

from tests.support.fibclient_command import fibclient
from tests.support.waiting import DEADLINE_SECONDS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    """Each shell has its script, which calls the command."""
    done = fibclient("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_FIBCLIENT_COMPLETE={shell}_complete" in done.stdout


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
