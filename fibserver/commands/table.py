"""Command table: one entry per command, with its handler and documentation.

`COMMAND`, `COMMAND DOCS` and the check of the number of arguments use the entries. The other
modules of this package register them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from fibserver.commands.session import Session
from fibserver.commands.subcommands import Subcommands
from fibserver.protocol.reply_encoding import CommandError, Reply
from fibserver.protocol.request_parser import printable

__all__ = ["COMMANDS", "Argument", "Command", "Handler", "Replies", "command", "find"]

Replies: TypeAlias = list[Reply] | Iterator[Reply]
"""Result of a handler: a complete short reply, or an iterator that builds a long reply in steps of
about 0.1 ms. A step without output yields `b""`. The iterator may raise CommandError only before
its first output."""

Handler: TypeAlias = Callable[[Session, list[bytes]], Replies]


@dataclass(frozen=True, slots=True)
class Argument:
    """Documentation of one argument.

    Attributes:
        name: Name of the argument.
        type: Type name as in Redis's COMMAND DOCS.
        token: Literal that precedes the argument, or "".
        is_optional: Whether the argument may be omitted.
    """

    name: str
    type: str = "integer"
    token: str = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Entry of the command table.

    Attributes:
        name: Name in upper case.
        lower_name: Name in lower case, for statistics and error messages.
        arity: Number of arguments including the name; if negative, the minimum.
        summary: One-line description.
        group: Group in the documentation.
        arguments: Documentation of the arguments.
        handler: Function that takes the session and the arguments after the name.
        is_immutable: Whether a successful reply depends on the request alone and never changes.
        is_queued: Whether the command is queued until EXEC inside a transaction.
        needs_authentication: Whether the client must have authenticated if a password is set.
        subcommands: The subcommands, one of which the first argument names; None without any.
    """

    name: str
    lower_name: str
    arity: int
    summary: str
    group: str
    arguments: tuple[Argument, ...]
    handler: Handler
    is_immutable: bool
    is_queued: bool
    needs_authentication: bool
    subcommands: Subcommands | None

    def full_name(self, args: list[bytes]) -> str:
        """Return the name in lower case, with that of the subcommand if there is one.

        Args:
            args: Command name and its arguments.
        """
        if self.subcommands is None or len(args) == 1 or args[1] not in self.subcommands:
            return self.lower_name
        return f"{self.lower_name}|{args[1].decode().lower()}"

    def check(self, args: list[bytes]) -> None:
        """Raise CommandError if the subcommand or the number of arguments is wrong.

        Args:
            args: Command name and its arguments.
        """
        count = len(args)
        if not (count == self.arity if self.arity >= 0 else count >= -self.arity):
            raise CommandError(f"wrong number of arguments for '{self.lower_name}' command")
        if self.subcommands is not None and count > 1:
            self.subcommands.check(args[1:])


COMMANDS: dict[bytes, Command] = {}


def command(
    name: str,
    arity: int,
    summary: str,
    group: str = "connection",
    arguments: tuple[Argument, ...] = (),
    *,
    is_immutable: bool = False,
    is_queued: bool = True,
    needs_authentication: bool = True,
    subcommands: Subcommands | None = None,
) -> Callable[[Handler], Handler]:
    """Register the decorated handler; the parameters are the attributes of `Command`."""

    def register(handler: Handler) -> Handler:
        COMMANDS[name.encode()] = Command(
            name,
            name.lower(),
            arity,
            summary,
            group,
            arguments,
            handler,
            is_immutable,
            is_queued,
            needs_authentication,
            subcommands,
        )
        return handler

    return register


def find(args: list[bytes]) -> Command:
    """Return the command of a request.

    Args:
        args: Command name and its arguments; at least the name.

    Raises:
        CommandError: The command is unknown.
    """
    entry = COMMANDS.get(args[0]) or COMMANDS.get(args[0].upper())
    if entry is None:
        rest = " ".join(map(printable, args[1:3]))
        name = printable(args[0])
        raise CommandError(f"unknown command {name}, with args beginning with: {rest}")
    return entry
