"""Commands run in this process: a start of their own takes most of a second."""

import os

import click
from click.testing import CliRunner, Result

__all__ = ["run_in_process"]

SET_BY_COMMANDS = "PYTHONSAFEPATH"


def run_in_process(command: click.Command, *arguments: str, **environment: str) -> Result:
    """Run a command that ends before it has started anything.

    Args:
        command: of click.
        arguments: of the command line.
        environment: variables to set for it.
    """
    restored = {SET_BY_COMMANDS: os.environ.get(SET_BY_COMMANDS)}
    return CliRunner().invoke(command, arguments, env={**restored, **environment})
