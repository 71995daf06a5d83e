"""Inline handling of a request: the application runs on the event loop.

It runs to its end before the first byte is sent. So every failure gets a complete error response,
and an application that needs a fetch is run again when a thread has fetched the bytes.

For nearly all requests the response header is made here: the same bytes as waitress makes, in a
tenth of the time. If the request or the response is unusual, waitress makes the response. The
application may then run twice, which is harmless since such a request is a GET or HEAD.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from types import TracebackType
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import WSGITask, hop_by_hop

from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import Overloaded, WouldBlock
from fibweb.server.error_response import error_response
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES, HttpRequest
from fibweb.server.request_context import RequestContext
from fibweb.server.response import Response, access_record
from fibweb.server.response_cache import http_date, is_cacheable

__all__ = ["respond"]

log = logging.getLogger(__name__)

FAILURE = "fibweb failed to answer; its log says why"

_DETAILS = {
    413: f"the body of a request must have less than {MAX_BODY_BYTES} bytes",
    431: f"the request line and headers must have less than {MAX_HEADER_BYTES} bytes",
    501: "chunked is the only transfer coding that is supported",
}
"""Details that replace the error messages of waitress."""

Fields = tuple[tuple[str, str], ...]

# Names, since the annotations of a nested function are evaluated with each of its definitions.
_Headers = list[tuple[str, str]]
_Error = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
_Write = Callable[[bytes], object]

_FOR_WAITRESS = frozenset({"Date", "Server"})


def respond(context: RequestContext, request: HttpRequest) -> Response:
    """Return the response to a request.

    Args:
        context: Context of the request.
        request: A complete request.

    Raises:
        WouldBlock: A fetch has to end first.
    """
    if request.error:
        status: int = request.error.code
        return error_response(context, request, status, _DETAILS.get(status, request.error.body))
    try:
        environ = request.environ(context)
        response = None
        if request.is_simple and not context.closes_next:
            response = _run_simple(context, request, environ)
        return response or _unusual(context, request, environ)
    except WouldBlock:
        raise
    except Overloaded as rejection:
        return error_response(
            context,
            request,
            503,
            str(rejection),
            retry_after_seconds=rejection.retry_after_seconds,
            closes=context.closes_next or not request.is_simple,
        )
    except Exception:
        method, target = request.command, request.request_uri
        log.exception("request %s (%s %.1000r) failed", request.id, method, target)
        return error_response(context, request, 500, FAILURE)


class _Header(NamedTuple):
    """Header of a usual response, split at its date.

    Attributes:
        status: HTTP status, such as 200.
        before: Bytes before the date.
        after: Bytes after the date.
        length: Content-Length.
        cache_control: Cache-Control, or empty.
        media_type: Content-Type, or empty.
    """

    status: int
    before: bytes
    after: bytes
    length: int
    cache_control: str
    media_type: str


def _run_simple(
    context: RequestContext, request: HttpRequest, environ: WSGIEnvironment
) -> Response | None:
    """Run the application; return its response, or None if that is unusual."""
    started: list[tuple[str, Fields, _Error]] = []

    def start_response(status: str, headers: _Headers, exc: _Error = None, /) -> _Write:
        started.append((status, tuple(headers), exc))
        return _write

    result = context.server.application(environ, start_response)
    if len(started) == 1 and started[0][2] is None:
        status, fields, _ = started[0]
        header = _header(context.server.adj.ident, status, fields)
        body, file = _body(result)
        size = len(body or b"") if file is None else file.size
        is_whole = header is not None and header.length == size
        is_head = header is not None and size == 0 and request.command == "HEAD"
        if header is not None and body is not None and (is_whole or is_head):
            data = b"".join((header.before, http_date(int(time.time())), header.after))
            record = access_record(context, request, header.status, header.media_type)
            is_constant = is_cacheable(record.method, header.status, header.cache_control)
            return Response(record, data, body, file, closes=False, is_cacheable=is_constant)
    if hasattr(result, "close"):
        result.close()
    return None


def _write(data: bytes) -> None:
    raise NotImplementedError("the application must return its response, not write it")


def _body(result: Iterable[bytes]) -> tuple[bytes | None, DocumentFile | None]:
    """Return the body that the application returned, as bytes or as a file.

    An unusual one is (None, None).
    """
    if isinstance(result, list) and len(result) <= 1:
        return (result[0] if result else b""), None
    if isinstance(result, ReadOnlyFileBasedBuffer) and isinstance(result.file, DocumentFile):
        return b"", result.file
    return None, None


@lru_cache(maxsize=1024)
def _header(ident: str, status: str, fields: Fields) -> _Header | None:
    """Return the header that waitress would make; None if its special cases apply.

    Args:
        ident: Value of the Server header.
        status: Status line without the version, such as "200 OK".
        fields: Names, in any case, and values.
    """
    capitalised = [("-".join(map(str.capitalize, name.split("-"))), text) for name, text in fields]
    by_name = dict(capitalised)
    is_bodiless = status.startswith(("204", "304"))
    has_line_break = (
        "\r" in status or "\n" in status or any("\r" in x or "\n" in x for x in chain(*fields))
    )
    is_for_waitress = _FOR_WAITRESS & by_name.keys() or hop_by_hop & set(map(str.lower, by_name))
    length = by_name.get("Content-Length", "0" if is_bodiless else "")
    has_odd_length = not length.isdecimal() or (is_bodiless and "Content-Length" in by_name)
    if has_odd_length or has_line_break or is_for_waitress:
        return None
    capitalised += [("Server", ident), ("Date", "")]
    capitalised.sort(key=itemgetter(0))
    lines = [f"{name}: {text}" for name, text in capitalised]
    at = lines.index("Date: ")
    before = "\r\n".join([f"HTTP/1.1 {status}", *lines[: at + 1]])
    after = "\r\n".join(["", *lines[at + 1 :], "", ""])
    cache_control, media_type = by_name.get("Cache-Control", ""), by_name.get("Content-Type", "")
    return _Header(
        int(status[:3]),
        before.encode("latin-1"),
        after.encode("latin-1"),
        int(length),
        cache_control,
        media_type,
    )


def _unusual(context: RequestContext, request: HttpRequest, environ: WSGIEnvironment) -> Response:
    """Run the application by waitress; return the response, which it would send itself."""
    task = WSGITask(context, request)  # type: ignore[arg-type]
    task.environ = environ
    if context.closes_next:
        task.set_close_on_finish()
    context.written, context.written_file = [], None
    task.service()
    header, *pieces = context.written
    file = context.written_file
    context.written, context.written_file = [], None
    headers = dict(task.response_headers)
    status = int(task.status[:3])
    record = access_record(context, request, status, headers.get("Content-Type", ""))
    is_constant = not request.has_body and is_cacheable(
        record.method, status, headers.get("Cache-Control", "")
    )
    return Response(record, header, b"".join(pieces), file, task.close_on_finish, is_constant)
