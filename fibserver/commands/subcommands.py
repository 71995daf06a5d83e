"""Subcommand tables: names, arities and the HELP reply.

A command such as CLIENT has one table, from which both HELP and the error messages are built.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fibserver.commands.session import Session
from fibserver.protocol.reply_encoding import CommandError, Reply, Simple, encode
from fibserver.protocol.request_parser import printable

__all__ = ["Subcommand", "Subcommands"]

HELP = b"HELP"


class Subcommand(NamedTuple):
    """Entry of a subcommand table.

    Attributes:
        arity: Number of arguments including the subcommand's name; if negative, the minimum.
        usage: Arguments as HELP shows them.
        summary: Lines of the description, of at most 100 characters each.
    """

    arity: int
    usage: str
    summary: tuple[str, ...]


class Subcommands:
    """Subcommands of one command."""

    def __init__(self, command: str, table: Mapping[bytes, Subcommand]) -> None:
        """Build the table, and add HELP to it.

        Args:
            command: Name of the command, in upper case.
            table: Subcommands by upper-case name, in the order of HELP.
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
        """Return the subcommand's name in upper case, and record it as the last command.

        Args:
            session: Session of the client.
            arguments: Subcommand and its arguments; at least the subcommand.

        Raises:
            CommandError: The subcommand is unknown, or the number of arguments is wrong.
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
        """Return the reply to HELP: an array of simple strings, as in Redis."""
        return [self._help]
