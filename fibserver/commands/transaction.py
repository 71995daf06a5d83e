"""MULTI, EXEC and DISCARD, which client libraries wrap around pipelines.

Every command only reads, so a transaction is a queue: nothing can fail half-way and nothing
needs isolating.
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
"""What a transaction may hold, in requests and in memory: each client may have one."""

WORD_BYTES = 48
"""What a word takes besides its text, about."""

_GROUP = "transactions"


@command("MULTI", 1, "Starts a transaction.", _GROUP, is_queued=False)
def multi(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Queue the requests from here on."""
    if session.is_in_transaction:
        raise CommandError("MULTI calls can not be nested")
    session.transaction = []
    return [encode(Simple("OK"))]


@command("DISCARD", 1, "Forgets a transaction.", _GROUP, is_queued=False)
def discard(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Drop the queued requests."""
    if not session.is_in_transaction:
        raise CommandError("DISCARD without MULTI")
    session.end_transaction()
    return [encode(Simple("OK"))]


@command("EXEC", 1, "Answers the requests of a transaction.", _GROUP, is_queued=False)
def exec_(session: Session, arguments: list[bytes]) -> Iterator[Reply]:
    """Answer all queued requests, each as it is sent."""
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
    for words in requests:
        entry = find(words)
        statistics = server.statistics.command(entry.lower_name)
        started = server.monotonic()
        try:
            yield from entry.handler(session, words[1:])
        except CommandError as error:
            statistics.errors[error.code] += 1
            server.statistics.errors[error.code] += 1
            yield encode_error(str(error), error.code)
        statistics.record(server.monotonic() - started)
