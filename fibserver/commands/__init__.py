"""Commands: from the words of a request to its replies, with no socket involved."""

from fibserver.commands import connection, sequence, server, transaction
from fibserver.commands.table import COMMANDS, Command, find
from fibserver.commands.transaction import MAX_QUEUED
from fibserver.replies import CommandError, Reply, Simple, encode
from fibserver.request_parser import printable
from fibserver.session import Session

__all__ = ["COMMANDS", "Command", "execute"]

# Imported for the commands that they enter into the table.
_FILLED_BY = (connection, sequence, server, transaction)

_QUEUED = encode(Simple("QUEUED"))


def execute(session: Session, words: list[bytes]) -> tuple[Command, list[Reply]]:
    """Run one request.

    Args:
        session: of the client that sent it.
        words: the command's name and its arguments, at least the name.

    Returns:
        The command and its replies, to be sent one after another.

    Raises:
        CommandError: the request is refused.
    """
    try:
        entry = find(words, printable)
        if session.transaction is None or not entry.is_queued:
            return entry, entry.handler(session, words[1:])
        if len(session.transaction) >= MAX_QUEUED:
            raise CommandError(f"a transaction may hold {MAX_QUEUED} requests")
        session.transaction.append(words)
        return entry, [_QUEUED]
    except CommandError:
        session.transaction_failed = session.is_in_transaction
        raise
