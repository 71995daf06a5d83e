"""Subcommands: their names, their numbers of arguments, and HELP.

A command such as CLIENT has a table of its subcommands. HELP and the errors come from that table,
so an error never recommends a HELP that does not exist.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fibserver.commands.session import Session
from fibserver.protocol.reply_encoding import CommandError, Reply, Simple, encode
from fibserver.protocol.request_parser import printable

__all__ = ["Subcommand", "Subcommands"]

HELP = b"HELP"


class Subcommand(NamedTuple):
    """One subcommand.

    Attributes:
        arity: number of words, its own name included; negative: at least that many.
        usage: its arguments as HELP shows them.
        summary: lines that describe it; each has at most 100 characters.
    """

    arity: int
    usage: str
    summary: tuple[str, ...]


class Subcommands:
    """The subcommands of one command."""

    def __init__(self, command: str, table: Mapping[bytes, Subcommand]) -> None:
        """Build the table; HELP is added.

        Args:
            command: the name of the command, in upper case.
            table: the subcommands by name, in upper case and in the order of HELP.
        """
        self._command = command
        self._table = {**table, HELP: Subcommand(1, "", ("Print this help.",))}
        self._help = encode([Simple(line) for line in self._lines()])

    def _lines(self) -> list[str]:
        lines = [f"{self._command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
        for name, subcommand in self._table.items():
            lines.append(f"{name.decode()} {subcommand.usage}".rstrip())
            lines += [f"    {line}" for line in subcommand.summary]
        return lines

    def parse(self, session: Session, arguments: list[bytes]) -> bytes:
        """Return the name of the subcommand, in upper case; record it as the last command.

        Args:
            session: the client's.
            arguments: the subcommand and its arguments, at least one word.

        Raises:
            CommandError: the subcommand does not exist, or cannot have so many arguments.
        """
        name = arguments[0].upper()
        subcommand = self._table.get(name)
        if subcommand is None:
            raise CommandError(
                f"unknown subcommand {printable(arguments[0])}. Try {self._command} HELP."
            )
        full_name = f"{self._command}|{name.decode()}".lower()
        session.last_command = full_name
        count, arity = len(arguments), subcommand.arity
        if count != arity if arity >= 0 else count < -arity:
            raise CommandError(f"wrong number of arguments for '{full_name}' command")
        return name

    def help(self) -> list[Reply]:
        """Return the reply to HELP: an array of simple strings, as from Redis."""
        return [self._help]
