"""Subcommand tables: names, arities and the HELP reply.

A command such as CLIENT has one table, from which both HELP and the error messages are built.
"""

from collections.abc import Mapping
from typing import NamedTuple

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

    def check(self, arguments: list[bytes]) -> None:
        """Raise CommandError if the subcommand is unknown, or has too many or few arguments.

        Args:
            arguments: Subcommand and its arguments; at least the subcommand.
        """
        name = arguments[0].upper()
        subcommand = self._table.get(name)
        if subcommand is None:
            raise CommandError(
                f"unknown subcommand {printable(arguments[0])}. Try {self._command} HELP."
            )
        count, arity = len(arguments), subcommand.arity
        if count != arity if arity >= 0 else count < -arity:
            full_name = f"{self._command}|{name.decode()}".lower()
            raise CommandError(f"wrong number of arguments for '{full_name}' command")

    def __contains__(self, name: bytes) -> bool:
        return name.upper() in self._table

    def help(self) -> list[Reply]:
        """Return the reply to HELP: an array of simple strings, as in Redis."""
        return [self._help]
