"""Error responses that the HTTP server makes without the application.

They report requests that it cannot parse, failures of the application, and rejections of an
overloaded fetch queue. Refusals must be cheap, since clients that ignore Retry-After cause many.
"""

import time

from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE, problem_body, reason_phrase
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import SiteContext
from fibweb.server.response import Response, format_header, http_date

__all__ = ["error_response"]


def error_response(
    site: SiteContext,
    request: HttpRequest,
    status: int,
    detail: str,
    *,
    retry_after_seconds: int = 0,
    closes: bool = True,
) -> Response:
    """Return an error as a problem detail, with the headers that the application would send.

    Args:
        site: Context of the listener, with its CORS headers.
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
        "X-Request-Id": request.id,
    }
    if closes:
        fields["Connection"] = "close"
    if retry_after_seconds:
        fields["Retry-After"] = str(retry_after_seconds)
    if site.cors is not None:
        fields |= site.cors.headers(request.headers.get("ORIGIN", ""))
    header = format_header(f"{status} {reason_phrase(status)}", fields.items())
    body = b"" if request.is_head else body
    return Response(request, status, PROBLEM_MEDIA_TYPE, header, body, closes=closes)
