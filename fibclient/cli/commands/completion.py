"""`completion`: shell completion scripts for commands, options and formats."""

import os
import shlex
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from fibclient.cli.global_options import CommandWithoutDefaults
from fibclient.cli.main import commands
from fibclient.cli.messages import print_note

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=CommandWithoutDefaults)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write the script where SHELL loads it from.")
def completion(shell: str | None, install: bool) -> None:
    """Print the completion script for SHELL, or install it.

    SHELL is bash, zsh or fish; by default, the one that $SHELL names.

    With --install, the script is written to a folder of the user, and for zsh, which reads no such
    folder by default, ~/.zshrc is extended. Repeat this after an upgrade; it changes nothing else.
    New shells complete then; bash needs the package bash-completion.

    \b
    Examples:
      fibclient completion --install
      fibclient completion fish --install
      source <(fibclient completion bash)    # in the current shell only
    """
    shell = shell or _users_shell()
    completer = get_completion_class(shell)
    assert completer is not None  # click supports all of them
    script = completer(commands, {}, "fibclient", "_FIBCLIENT_COMPLETE").source() + "\n"
    if not install:
        click.echo(script, nl=False)
        return
    path = _script_path(shell)
    _write(path, script.encode())
    if shell == "zsh":
        _load_in_zsh(path)
    print_note(f"start a new {shell} to use it")


def _users_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise click.UsageError(
            f"$SHELL names {name!r}: give the shell, which is one of {', '.join(SHELLS)}"
        )
    return name


def _script_path(shell: str) -> Path:
    """Return the file that a shell loads completions of `fibclient` from."""
    match shell:
        case "bash":
            folder = os.environ.get("BASH_COMPLETION_USER_DIR")
            own = Path(folder) if folder else _folder("XDG_DATA_HOME", "~/.local/share")
            return (own if folder else own / "bash-completion") / "completions" / "fibclient"
        case "zsh":
            return Path("~/.zfunc/_fibclient").expanduser()
        case _:
            config = _folder("XDG_CONFIG_HOME", "~/.config")
            return config / "fish" / "completions" / "fibclient.fish"


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or default).expanduser()


def _load_in_zsh(path: Path) -> None:
    """Extend .zshrc so that zsh loads completions from the folder of a file."""
    startup = _folder("ZDOTDIR", "~") / ".zshrc"
    line = f"fpath+=({shlex.quote(str(path.parent))}); autoload -Uz compinit; compinit\n".encode()
    found = startup.read_bytes() if startup.exists() else b""
    if line in found.splitlines(keepends=True):
        click.echo(f"{startup} is up to date")
        return
    with startup.open("ab") as file:
        file.write(line if not found or found.endswith(b"\n") else b"\n" + line)
    click.echo(f"extended {startup}")


def _write(path: Path, data: bytes) -> None:
    """Write a file, unless it has the data already, and print what was done."""
    if path.exists() and path.read_bytes() == data:
        click.echo(f"{path} is up to date")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    click.echo(f"wrote {path}")
