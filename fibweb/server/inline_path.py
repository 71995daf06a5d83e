"""The ready handling: a request goes through the application, here and now.

The application runs to its end before the first byte is sent. So whatever goes wrong is answered
with a whole error, and a request that needs something from a fibserver is run again when a thread
has fetched that.

Nearly all requests are usual ones with usual answers, whose header is made here: the same bytes as
waitress makes, in a tenth of the time. With anything unusual the application is run again, which
costs nothing but time since these are GET and HEAD, and waitress makes the answer.
"""

import logging
import time
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import Task, WSGITask, hop_by_hop

from fibweb.content.answer_file import AnswerFile
from fibweb.content.fetch import Overloaded, WouldBlock
from fibweb.server.error_response import error_response
from fibweb.server.parsed_headers import CachedHeaderRequest
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES, Request
from fibweb.server.request_context import RequestContext
from fibweb.server.response import Response
from fibweb.server.response_cache import http_date, is_cacheable
from fibweb.stats.access_record import AccessRecord

__all__ = ["respond"]

log = logging.getLogger(__name__)

FAILURE = "fibweb failed to answer; its log says why"

_DETAILS = {
    413: f"the body of a request must have less than {MAX_BODY_BYTES} bytes",
    431: f"the request line and headers must have less than {MAX_HEADER_BYTES} bytes",
    501: "chunked is the only transfer coding that is supported",
}
"""What is said instead of waitress's own words."""

Fields = tuple[tuple[str, str], ...]

_FOR_WAITRESS = frozenset({"Date", "Server"})


def respond(context: RequestContext, request: Request | CachedHeaderRequest) -> Response:
    """Return the answer to a request.

    Args:
        context: of the request.
        request: the request, whole.

    Raises:
        WouldBlock: something has to be fetched first.
    """
    if request.error:
        status: int = request.error.code
        return error_response(context, request, status, _DETAILS.get(status, request.error.body))
    try:
        return _ask_application(context, request)
    except WouldBlock:
        raise
    except Overloaded as refusal:
        return error_response(
            context,
            request,
            503,
            str(refusal),
            retry_after_seconds=refusal.retry_after_seconds,
            closes=context.closes_next or not request.is_usual,
        )
    except Exception:
        method, target = request.method, request.target
        log.exception("request %s, %s %.1000r, failed", request.id, method, target)
        return error_response(context, request, 500, FAILURE)


class _Header(NamedTuple):
    """The header of a usual answer.

    Attributes:
        status: such as 200.
        before: all up to the date.
        behind: all from there on.
        length: of the body.
        cache_control: what caches are told.
        media_type: of the body.
    """

    status: int
    before: bytes
    behind: bytes
    length: int
    cache_control: str
    media_type: str


def _ask_application(context: RequestContext, request: Request | CachedHeaderRequest) -> Response:
    environ = request.environ(context)
    if request.is_usual and not context.closes_next:
        response = _usual(context, request, environ)
        if response is not None:
            return response
    task = WSGITask(context, request.parsed(context.adj))  # type: ignore[arg-type]
    task.environ = environ
    return _run(task, context, request)


def _usual(
    context: RequestContext, request: Request | CachedHeaderRequest, environ: dict[str, Any]
) -> Response | None:
    """Return the answer of the application, None if it is an unusual one."""
    started: list[tuple[Any, ...]] = []

    def start_response(*start: Any) -> None:
        started.append(start)

    answer = context.server.application(environ, start_response)
    if len(started) == 1 and len(started[0]) == 2:
        status, fields = started[0]
        header = _header(context.server.adj.ident, status, tuple(fields))
        body, file = _body(answer)
        size = len(body or b"") if file is None else file.size
        is_whole = header is not None and header.length == size
        is_head = header is not None and size == 0 and request.method == "HEAD"
        if header is not None and body is not None and (is_whole or is_head):
            data = b"".join((header.before, http_date(int(time.time())), header.behind))
            exchange = _exchange(context, request, header.status, header.media_type)
            is_constant = is_cacheable(exchange.method, header.status, header.cache_control)
            return Response(exchange, data, body, file, closes=False, is_cacheable=is_constant)
    if hasattr(answer, "close"):
        answer.close()
    return None


def _body(answer: Any) -> tuple[bytes | None, AnswerFile | None]:
    """Return what the application answered with: bytes, a file, or neither if it is unusual."""
    if type(answer) is list and len(answer) <= 1:
        return (answer[0] if answer else b""), None
    if type(answer) is ReadOnlyFileBasedBuffer and isinstance(answer.file, AnswerFile):
        return b"", answer.file
    return None, None


@lru_cache(maxsize=1024)
def _header(ident: str, status: str, fields: Fields) -> _Header | None:
    """Return the header as waitress makes it, None of an answer for which it does more than that.

    Args:
        ident: of the server.
        status: such as "200 OK".
        fields: names, in any case, and values.
    """
    capitalised = [("-".join(map(str.capitalize, name.split("-"))), text) for name, text in fields]
    by_name = dict(capitalised)
    is_bodiless = status.startswith(("1", "204", "304"))
    is_odd = (
        "\r" in status or "\n" in status or any("\r" in x or "\n" in x for x in chain(*fields))
    )
    is_for_waitress = _FOR_WAITRESS & by_name.keys() or hop_by_hop & set(map(str.lower, by_name))
    length = by_name.get("Content-Length", "")
    if is_bodiless or is_odd or is_for_waitress or not length.isdecimal():
        return None
    capitalised += [("Server", ident), ("Date", "")]
    capitalised.sort(key=itemgetter(0))
    lines = [f"{name}: {text}" for name, text in capitalised]
    at = lines.index("Date: ")
    before = "\r\n".join([f"HTTP/1.1 {status}", *lines[: at + 1]])
    behind = "\r\n".join(["", *lines[at + 1 :], "", ""])
    cache_control, media_type = by_name.get("Cache-Control", ""), by_name.get("Content-Type", "")
    return _Header(
        int(status[:3]),
        before.encode("latin-1"),
        behind.encode("latin-1"),
        int(length),
        cache_control,
        media_type,
    )


def _run(task: Task, context: RequestContext, request: Request | CachedHeaderRequest) -> Response:
    """Have waitress make the answer to a request, and return it instead of sending it."""
    if context.closes_next:
        task.set_close_on_finish()
    task.service()
    header, *pieces = context.written
    file = None
    if pieces and isinstance(pieces[-1], ReadOnlyFileBasedBuffer):
        file = pieces.pop().file
    if file is not None and not isinstance(file, AnswerFile):
        pieces.append(file.read())
        file.close()
        file = None
    headers = dict(task.response_headers)
    status = int(task.status[:3])
    exchange = _exchange(context, request, status, headers.get("Content-Type", ""))
    is_constant = not request.has_body and is_cacheable(
        exchange.method, status, headers.get("Cache-Control", "")
    )
    return Response(exchange, header, b"".join(pieces), file, task.close_on_finish, is_constant)


def _exchange(
    context: RequestContext, request: Request | CachedHeaderRequest, status: int, media_type: str
) -> AccessRecord:
    """Return what is known of an exchange before anything is sent."""
    own_id = request.id if request.proposed_id == request.id else ""
    client, user_agent = context.addr[0], request.user_agent
    return AccessRecord(
        request.method, request.target, status, 0, 0.0, client, user_agent, own_id, "", media_type
    )
