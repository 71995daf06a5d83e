"""`completion`: shell completion scripts for commands, options and formats."""

import click
from click.shell_completion import get_completion_class

from fibclient.cli.main import commands

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    To enable completion in every new shell:

    \b
      bash  fibclient completion bash > ~/.local/share/bash-completion/completions/fibclient
      zsh   fibclient completion zsh > ~/.zfunc/_fibclient
            (a directory of $fpath; in ~/.zshrc, before compinit: fpath+=~/.zfunc)
      fish  fibclient completion fish > ~/.config/fish/completions/fibclient.fish

    \b
    To enable it in the current shell only:
      source <(fibclient completion bash)
    """
    completer = get_completion_class(shell)
    assert completer is not None  # click supports all of the choices
    click.echo(completer(commands, {}, "fibclient", "_FIBCLIENT_COMPLETE").source())
