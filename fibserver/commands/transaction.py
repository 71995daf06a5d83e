"""Transaction commands MULTI, EXEC and DISCARD, which client libraries wrap around pipelines.

No command changes a number, so a transaction is a plain queue: it needs no isolation and no
rollback.
"""

from collections.abc import Iterator

from fibserver.commands.session import Session
from fibserver.commands.table import command, find
from fibserver.protocol.reply_encoding import (
    CommandError,
    Reply,
    Simple,
    array_header,
    encode,
    encode_error,
)

MAX_QUEUED = 1024
MAX_QUEUED_BYTES = 256 * 1024
"""Limits of one transaction, in requests and bytes; each client can have one."""

WORD_BYTES = 48
"""Approximate memory of an argument besides its text."""

_GROUP = "transactions"


@command("MULTI", 1, "Starts a transaction.", _GROUP, is_queued=False)
def multi(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Start to queue requests."""
    if session.is_in_transaction:
        raise CommandError("MULTI calls can not be nested")
    session.transaction = []
    return [encode(Simple("OK"))]


@command("DISCARD", 1, "Discards a transaction.", _GROUP, is_queued=False)
def discard(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Discard the queued requests."""
    if not session.is_in_transaction:
        raise CommandError("DISCARD without MULTI")
    session.end_transaction()
    return [encode(Simple("OK"))]


@command("EXEC", 1, "Executes the requests of a transaction.", _GROUP, is_queued=False)
def exec_(session: Session, arguments: list[bytes]) -> Iterator[Reply]:
    """Run the queued requests, each when the output has room for its reply."""
    if session.transaction is None:
        raise CommandError("EXEC without MULTI")
    requests, failed = session.transaction, session.transaction_failed
    session.end_transaction()
    if failed:
        raise CommandError("Transaction discarded because of previous errors.", "EXECABORT")
    return _replies(session, requests)


def _replies(session: Session, requests: list[list[bytes]]) -> Iterator[Reply]:
    yield array_header(len(requests))
    server = session.server
    for args in requests:
        entry = find(args)
        statistics = server.statistics.command(entry.lower_name)
        started = server.monotonic()
        try:
            yield from entry.handler(session, args[1:])
        except CommandError as error:
            statistics.errors[error.code] += 1
            server.statistics.errors[error.code] += 1
            yield encode_error(str(error), error.code)
        statistics.record(server.monotonic() - started)
