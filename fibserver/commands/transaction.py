"""MULTI, EXEC and DISCARD, which client libraries wrap around pipelines.

Every command only reads, so a transaction is a queue: nothing can fail half-way and nothing
needs isolating.
"""

from fibserver.commands.table import command, find
from fibserver.replies import CommandError, Reply, Simple, array_header, encode, encode_error
from fibserver.session import Session

MAX_QUEUED = 1024
MAX_QUEUED_BYTES = 256 * 1024
"""What a transaction may hold, in requests and in memory: each client may have one."""

MAX_REPLY_BYTES = 1024 * 1024
"""When the replies of EXEC, slices aside, have come to this, the rest are errors: each request
is small, but its reply need not be, and all are made at once."""

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
def exec_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer all queued requests at once."""
    if session.transaction is None:
        raise CommandError("EXEC without MULTI")
    requests, failed = session.transaction, session.transaction_failed
    session.end_transaction()
    if failed:
        raise CommandError("Transaction discarded because of previous errors.", "EXECABORT")
    statistics = session.server.statistics
    replies: list[Reply] = [array_header(len(requests))]
    size = 0
    for words in requests:
        entry = find(words)
        try:
            if size > MAX_REPLY_BYTES:
                raise CommandError(
                    f"the replies of EXEC take over {MAX_REPLY_BYTES} bytes", "LIMIT"
                )
            replies += entry.handler(session, words[1:])
        except CommandError as error:
            statistics.command(entry.lower_name).errors[error.code] += 1
            statistics.errors[error.code] += 1
            replies.append(encode_error(str(error), error.code))
        last = replies[-1]
        size += len(last) if isinstance(last, bytes) else 0
    return replies
