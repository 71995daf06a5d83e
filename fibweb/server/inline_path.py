"""Inline handling of a request: the application runs on the event loop.

It runs to its end before the first byte is sent. So every failure gets a complete error response,
and an application that needs a fetch is run again when a thread has fetched the bytes.

For nearly all requests the response header is made here: the same bytes as waitress makes, in a
tenth of the time. If the request or the response is unusual, waitress makes the response. The
application may then run twice, which is harmless since such a request is a GET or HEAD.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from types import TracebackType
from wsgiref.types import WSGIEnvironment

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import WSGITask, hop_by_hop

from fibcommon.http.problem_details import FAILURE
from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import Overloaded, WouldBlock
from fibweb.http.representations import CACHE_CONTROL
from fibweb.server.error_response import error_response
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES, HttpRequest
from fibweb.server.request_context import RequestContext, TaskChannel
from fibweb.server.response import Response, format_header, http_date, with_date

__all__ = ["respond"]

log = logging.getLogger(__name__)

_DETAILS = {
    413: f"the body is too large: send none, or less than {MAX_BODY_BYTES} bytes",
    431: f"the request line and headers are too large: send less than {MAX_HEADER_BYTES} bytes",
    501: "chunked is the only transfer coding that is supported: send no body, or a chunked one",
}
"""Details that replace the error messages of waitress."""

Fields = tuple[tuple[str, str], ...]

# Names, since the annotations of a nested function are evaluated with each of its definitions.
_Headers = list[tuple[str, str]]
_Error = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
_Write = Callable[[bytes], object]

_FOR_WAITRESS = hop_by_hop | {"date", "server"}
_LINE_BREAK = re.compile(r"[\r\n]")


def respond(context: RequestContext, request: HttpRequest) -> Response:
    """Return the response to a complete request.

    Raises:
        WouldBlock: A fetch has to end first.
    """
    if request.error:
        status: int = request.error.code
        detail = _DETAILS.get(status, request.error.body)
        return error_response(context.site, request, status, detail)
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
            context.site,
            request,
            503,
            str(rejection),
            retry_after_seconds=rejection.retry_after_seconds,
            closes=context.closes_next or not request.is_simple,
        )
    except Exception:
        method, target = request.command, request.request_uri
        log.exception("request %s (%s %.1000r) failed", request.id, method, target)
        return error_response(context.site, request, 500, FAILURE)


class _Header:
    """Header of a usual response.

    Attributes:
        status: HTTP status, such as 200.
        length: Content-Length.
        is_immutable: Whether Cache-Control says that the response never changes.
        media_type: Content-Type, or empty.
    """

    __slots__ = ("_data", "_second", "is_immutable", "length", "media_type", "status")

    def __init__(self, status: str, by_name: Mapping[str, str], data: bytes, length: int) -> None:
        self.status = int(status[:3])
        self.length = length
        self.is_immutable = by_name.get("cache-control") == CACHE_CONTROL
        self.media_type = by_name.get("content-type", "")
        self._data = data
        self._second = 0

    def data(self, second: int) -> bytes:
        """Return the encoded status line and headers, with a date."""
        if second != self._second:
            self._data = with_date(self._data, second)
            self._second = second
        return self._data


def _run_simple(
    context: RequestContext, request: HttpRequest, environ: WSGIEnvironment
) -> Response | None:
    """Run the application; return its response, or None if that is unusual."""
    started: list[tuple[str, Fields, _Error]] = []

    def start_response(status: str, headers: _Headers, exc: _Error = None, /) -> _Write:
        started.append((status, tuple(headers), exc))
        return _write

    result = context.site.application(environ, start_response)
    if len(started) == 1 and started[0][2] is None:
        status, fields, _ = started[0]
        header = _header(status, fields)
        body, file = _body(result)
        if header is not None and body is not None:
            size = len(body) if file is None else file.size
            if size == header.length or (size == 0 and request.command == "HEAD"):
                return Response(
                    request,
                    header.status,
                    header.media_type,
                    header.data(int(time.time())),
                    body,
                    file,
                    closes=False,
                    is_immutable=header.is_immutable,
                )
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
def _header(status: str, fields: Fields) -> _Header | None:
    """Return the header that waitress would make; None if its special cases apply.

    Args:
        status: Status line without the version, such as "200 OK".
        fields: Names, in any case, and values.
    """
    by_name = {name.lower(): text for name, text in fields}
    is_bodiless = status.startswith(("204", "304"))
    length = by_name.get("content-length", "0" if is_bodiless else "")
    has_odd_length = not length.isdecimal() or (is_bodiless and "content-length" in by_name)
    has_line_break = _LINE_BREAK.search("".join((status, *chain(*fields))))
    if has_odd_length or has_line_break or _FOR_WAITRESS & by_name.keys():
        return None
    named = [("-".join(map(str.capitalize, name.split("-"))), text) for name, text in fields]
    data = format_header(status, [*named, ("Date", http_date(0).decode())])
    return _Header(status, by_name, data, int(length))


def _unusual(context: RequestContext, request: HttpRequest, environ: WSGIEnvironment) -> Response:
    """Run the application by waitress; return the response, which it would send itself."""
    channel = TaskChannel(context)
    task = WSGITask(channel, request)  # type: ignore[arg-type]
    task.environ = environ
    if context.closes_next:
        task.set_close_on_finish()
    task.service()
    header, *pieces = channel.written
    headers = dict(task.response_headers)
    return Response(
        request,
        int(task.status[:3]),
        headers.get("Content-Type", ""),
        header,
        b"".join(pieces),
        channel.file,
        closes=task.close_on_finish,
        is_immutable=headers.get("Cache-Control") == CACHE_CONTROL,
    )
