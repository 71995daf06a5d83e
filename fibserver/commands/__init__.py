"""Command execution: from the arguments of a request to its replies, without sockets."""

from fibserver.commands import (
    client,
    connection,
    monitoring,
    sequence,
    server,
    single_numbers,
    transaction,
)
from fibserver.commands.session import Session
from fibserver.commands.table import COMMANDS, Command, Replies, find
from fibserver.commands.transaction import MAX_QUEUED, MAX_QUEUED_BYTES, WORD_BYTES
from fibserver.core.statistics import CommandStatistics
from fibserver.protocol.reply_encoding import CommandError, Simple, encode

__all__ = ["COMMANDS", "Command", "execute"]

# Importing these modules registers their commands.
_COMMAND_MODULES = (client, connection, monitoring, sequence, server, single_numbers, transaction)

_QUEUED = encode(Simple("QUEUED"))


def execute(session: Session, args: list[bytes]) -> tuple[Command, CommandStatistics, Replies]:
    """Run one request.

    Args:
        session: Session of the client that sent it.
        args: Command name and its arguments; at least the name.

    Returns:
        The command, its statistics, and its replies in order.

    Raises:
        CommandError: The request is rejected, or fails while it runs. In the latter case
            `was_run` is true, and the caller records the call.
    """
    try:
        entry = find(args)
    except CommandError:
        session.transaction_failed = session.is_in_transaction
        raise
    session.last_command = entry.full_name(args)
    statistics = session.server.statistics.command(entry.lower_name)
    try:
        may_run = session.is_authenticated or session.server.password is None
        if entry.needs_authentication and not may_run:
            raise CommandError("Authentication required.", "NOAUTH")
        entry.check(args)
        if session.transaction is not None and entry.is_queued:
            _queue(session, args)
            return entry, statistics, [_QUEUED]
    except CommandError as error:
        session.transaction_failed = session.is_in_transaction
        statistics.rejected_calls += 1
        statistics.errors[error.code] += 1
        raise
    try:
        return entry, statistics, entry.handler(session, args[1:])
    except CommandError as error:
        statistics.errors[error.code] += 1
        error.was_run = True
        raise


def _queue(session: Session, args: list[bytes]) -> None:
    """Add a request to the transaction; raise CommandError if the transaction is full."""
    transaction = session.transaction
    assert transaction is not None, "MULTI came before"
    session.transaction_bytes += sum(map(len, args)) + WORD_BYTES * len(args)
    if len(transaction) >= MAX_QUEUED or session.transaction_bytes > MAX_QUEUED_BYTES:
        raise CommandError(f"transaction too large: at most {MAX_QUEUED} requests and 256 KiB")
    transaction.append(args)
