"""Commands: from the words of a request to its replies, with no socket involved."""

from fibserver.commands import client, connection, monitoring, sequence, server, transaction
from fibserver.commands.session import Session
from fibserver.commands.table import COMMANDS, Command, Replies, find
from fibserver.commands.transaction import MAX_QUEUED, MAX_QUEUED_BYTES, WORD_BYTES
from fibserver.core.statistics import CommandStatistics
from fibserver.protocol.reply_encoding import CommandError, Simple, encode

__all__ = ["COMMANDS", "Command", "execute"]

# Imported for the commands that they enter into the table.
_FILLED_BY = (client, connection, monitoring, sequence, server, transaction)

_QUEUED = encode(Simple("QUEUED"))


def execute(session: Session, words: list[bytes]) -> tuple[Command, CommandStatistics, Replies]:
    """Run one request.

    Args:
        session: of the client that sent it.
        words: the command's name and its arguments, at least the name.

    Returns:
        The command, its figures, and its replies, to be sent one after another.

    Raises:
        CommandError: The request is refused, or fails: then `was_run` is true, and the call
            is still to be recorded for the session's last command.
    """
    try:
        entry = find(words)
    except CommandError:
        session.transaction_failed = session.is_in_transaction
        raise
    session.last_command = entry.lower_name
    statistics = session.server.statistics.command(entry.lower_name)
    try:
        is_known = session.is_authenticated or session.server.password is None
        if entry.needs_authentication and not is_known:
            raise CommandError("Authentication required.", "NOAUTH")
        entry.check(words)
        if session.transaction is not None and entry.is_queued:
            _queue(session, words)
            return entry, statistics, [_QUEUED]
    except CommandError as error:
        session.transaction_failed = session.is_in_transaction
        statistics.rejected_calls += 1
        statistics.errors[error.code] += 1
        raise
    try:
        return entry, statistics, entry.handler(session, words[1:])
    except CommandError as error:
        statistics.errors[error.code] += 1
        error.was_run = True
        raise


def _queue(session: Session, words: list[bytes]) -> None:
    """Put a request into the transaction, if there is room."""
    transaction = session.transaction
    assert transaction is not None, "there is one"
    session.transaction_bytes += sum(map(len, words)) + WORD_BYTES * len(words)
    if len(transaction) >= MAX_QUEUED or session.transaction_bytes > MAX_QUEUED_BYTES:
        raise CommandError(f"a transaction may hold {MAX_QUEUED} requests of 256 KiB in all")
    transaction.append(words)
