"""Error responses that the HTTP server makes without the application.

They report requests that it cannot parse, failures of the application, and rejections of an
overloaded fetch queue. Refusals must be cheap, since clients that ignore Retry-After cause many.
"""

import time

from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE, problem_body, reason_phrase
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import RequestContext
from fibweb.server.response import Response, access_record
from fibweb.server.response_cache import http_date

__all__ = ["error_response"]


def error_response(
    context: RequestContext,
    request: HttpRequest,
    status: int,
    detail: str,
    *,
    retry_after_seconds: int = 0,
    closes: bool = True,
) -> Response:
    """Return an error as a problem detail, with the headers that the application would send.

    Args:
        context: Context of the request.
        request: The request, as far as it was parsed.
        status: HTTP status, 400 to 599.
        detail: What is wrong, the value, and what is allowed.
        retry_after_seconds: When to try again; 0 omits Retry-After.
        closes: Whether the response closes the connection.
    """
    body = problem_body(status, detail, request.requested_path, request.id)
    fields = {
        "Cache-Control": "no-store",
        "Content-Length": str(len(body)),
        "Content-Type": PROBLEM_MEDIA_TYPE,
        "Date": http_date(int(time.time())).decode(),
        "Server": context.server.adj.ident,
        "X-Request-Id": request.id,
    }
    if closes:
        fields["Connection"] = "close"
    if retry_after_seconds:
        fields["Retry-After"] = str(retry_after_seconds)
    if context.server.cors is not None:
        fields |= context.server.cors.headers(request.headers.get("ORIGIN", ""))
    lines = [f"{name}: {fields[name]}\r\n" for name in sorted(fields)]
    header = f"HTTP/1.1 {status} {reason_phrase(status)}\r\n{''.join(lines)}\r\n"
    record = access_record(context, request, status, PROBLEM_MEDIA_TYPE)
    if request.is_head:
        body = b""
    return Response(record, header.encode("latin-1"), body, None, closes, is_cacheable=False)
