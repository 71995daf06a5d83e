"""Man pages and shell completions of the three commands, made from their own help.

    python write_help.py SHARE

SHARE is such as /usr/local/share. One process for all of it: each start of a command takes most of
a second.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from fibclient.cli.main import commands as fibclient
from fibcommon import __version__
from fibserver.cli import main as fibserver
from fibweb.cli import main as fibweb

COMMANDS: dict[str, click.Command] = {
    "fibserver": fibserver,
    "fibclient": fibclient,
    "fibweb": fibweb,
}

COMPLETIONS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
"""Where each shell looks for the completions of a command."""

COLUMNS = 80


def man_page(name: str, command: click.Command) -> str:
    """Return the man page of a command: its help, as a terminal of 80 columns shows it."""
    with _context(name, command) as context:
        summary = (command.help or "").partition("\n")[0].rstrip(".")
        lines = [
            f'.TH {name} 1 "" "fibservice {__version__}"',
            *(".SH NAME", f"{name} \\- {summary}"),
            *(".SH DESCRIPTION", ".nf", *_quoted(context.get_help()), ".fi"),
        ]
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                subcommand = command.get_command(context, each)
                assert subcommand is not None  # it is listed
                with _context(each, subcommand, context) as below:
                    lines += [f".SS {name} {each}", ".nf", *_quoted(below.get_help()), ".fi"]
    return "\n".join(lines) + "\n"


def _context(
    name: str, command: click.Command, parent: click.Context | None = None
) -> click.Context:
    return command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=COLUMNS, max_content_width=COLUMNS
    )


def _quoted(text: str) -> Iterator[str]:
    """Yield lines of text as roff prints them unchanged."""
    for line in text.splitlines():
        quoted = line.replace("\\", "\\e").replace("-", "\\-")
        yield f"\\&{quoted}" if quoted.startswith((".", "'")) else quoted


def completion(shell: str, name: str, command: click.Command) -> str:
    """Return the script that lets a shell complete a command."""
    completer = get_completion_class(shell)
    assert completer is not None  # click has all of them
    return completer(command, {}, name, f"_{name.upper()}_COMPLETE").source()


def main(share: Path) -> None:
    """Write all files below a folder."""
    files = {f"man/man1/{name}.1": man_page(name, each) for name, each in COMMANDS.items()}
    for shell, path in COMPLETIONS.items():
        for name, command in COMMANDS.items():
            files[path.format(name)] = completion(shell, name, command)
    for path, text in files.items():
        file = share / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
