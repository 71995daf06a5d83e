"""The command table: one entry a command, with its handler and its documentation.

An entry says everything about its command: `COMMAND`, `COMMAND DOCS` and the check of the
number of arguments come from it. Modules beside this one fill the table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from fibserver.commands.session import Session
from fibserver.protocol.reply_encoding import CommandError, Reply
from fibserver.protocol.request_parser import printable

__all__ = ["COMMANDS", "Argument", "Command", "Handler", "Replies", "command", "find"]

Replies: TypeAlias = list[Reply] | Iterator[Reply]
"""What a handler returns: all of a short reply, or an iterator that makes a long one in steps of
some 0.1 ms each. A step may yield `b""`, which only takes time. It may raise CommandError as long
as it has yielded nothing else."""

Handler: TypeAlias = Callable[[Session, list[bytes]], Replies]


@dataclass(frozen=True, slots=True)
class Argument:
    """The documentation of one argument.

    Attributes:
        name: what it means.
        type: its kind, in the words of Redis's COMMAND DOCS.
        token: the literal word before it, if any.
        is_optional: whether it may be left out.
    """

    name: str
    type: str = "integer"
    token: str = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: in upper case.
        lower_name: in lower case, as statistics and errors have it.
        arity: the number of words with the name; negative: at least that many.
        summary: one line on what it does.
        group: the heading it is documented under.
        arguments: their documentation.
        handler: takes the session and the arguments behind the name.
        is_immutable: whether its reply, an error aside, depends on the request alone, for ever.
        is_queued: whether it waits for EXEC in a transaction.
        needs_authentication: whether the client must have said the password, if there is one.
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

    def check(self, words: list[bytes]) -> None:
        """Raise CommandError if the command cannot have so many words."""
        count = len(words)
        if not (count == self.arity if self.arity >= 0 else count >= -self.arity):
            raise CommandError(f"wrong number of arguments for '{self.lower_name}' command")


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
) -> Callable[[Handler], Handler]:
    """Enter the decorated handler into the table; the arguments are those of `Command`."""

    def enter(handler: Handler) -> Handler:
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
        )
        return handler

    return enter


def find(words: list[bytes]) -> Command:
    """Return the command of a request.

    Args:
        words: the command's name and arguments, at least the name.

    Raises:
        CommandError: there is no such command.
    """
    entry = COMMANDS.get(words[0]) or COMMANDS.get(words[0].upper())
    if entry is None:
        rest = " ".join(map(printable, words[1:3]))
        name = printable(words[0])
        raise CommandError(f"unknown command {name}, with args beginning with: {rest}")
    return entry
