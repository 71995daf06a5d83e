"""Error responses of the application: problem details (RFC 9457) for programs, HTML for browsers.

A browser is a client that prefers `text/html` to JSON. All other clients get problem details, also
those that accept neither.
"""

import json
import logging
import uuid
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NoReturn
from urllib.parse import quote, unquote

import falcon

from fibclient import ClientClosed, FibError, RequestRefused, ServerUnreachable
from fibcommon.bounds import OutOfBounds
from fibcommon.http.problem_details import FAILURE, PROBLEM_MEDIA_TYPE, problem_members
from fibcommon.limits import TooLarge
from fibcommon.service.errors import remedy_after
from fibweb.content.fetch_request import Overloaded, WouldBlock
from fibweb.http import entity_tags
from fibweb.http.address_suggestions import suggest_address
from fibweb.http.mounting import mount_path, relative_root, requested_path
from fibweb.http.negotiation import MAX_ACCEPT_CHARACTERS, choose
from fibweb.http.parameters import (
    SHOWN_CHARACTERS,
    IndexTooLong,
    MissingParameter,
    NotANumber,
    UnknownParameter,
)
from fibweb.resources.compression import set_compressed
from fibweb.resources.problem_types import (
    OUT_OF_BOUNDS,
    TOO_LARGE,
    UNKNOWN_PARAMETER,
    ProblemType,
)

__all__ = [
    "Problem",
    "add_problems",
    "check_without_tag",
    "invalid_request",
    "not_matching",
    "rejection_remedy",
    "too_large",
    "unavailable",
]

RETRY_AFTER_SECONDS = 1
"""When clients may try again: the state of the fibservers is probed once a second."""

_OFFERS = (PROBLEM_MEDIA_TYPE, falcon.MEDIA_JSON, falcon.MEDIA_HTML)
"""Media types of errors. Clients of `application/json` get problem details as well."""

_log = logging.getLogger("fibweb")


class Problem(falcon.HTTPError):
    """An error response.

    Attributes:
        kind: Its type; None if the status suffices.
        members: Additional members of the body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        kind: ProblemType | None = None,
        **members: object,
    ) -> None:
        """Create an error.

        Args:
            status: HTTP status, 400 to 599.
            detail: The problem, the value and what is allowed.
            headers: Additional headers.
            kind: Type of the problem, if the status does not suffice.
            members: Additional members of the body.
        """
        super().__init__(status, description=detail, headers=dict(headers or {}))
        self.kind = kind
        self.members = members


def unavailable(detail: str) -> Problem:
    """Return the error for a fibserver that is unavailable: 503 with Retry-After."""
    return Problem(503, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def invalid_request(error: ValueError, environ: Mapping[str, Any], example: str) -> Problem:
    """Return the error response to a request with an invalid parameter.

    Args:
        error: What is wrong with it.
        environ: WSGI environ of the request.
        example: Path and query of a valid request.
    """
    if isinstance(error, MissingParameter):
        error = error.explained(environ.get("QUERY_STRING", ""))
    match error:
        case NotANumber():
            return Problem(400, f"{error}, e.g. {mount_path(environ)}{error.example or example}")
        case IndexTooLong():
            advice = (
                "/limits has the limits, /digits/{n} the first and last digits of larger numbers"
            )
            return Problem(400, f"{error}: {advice}", kind=TOO_LARGE)
        case OutOfBounds():
            return Problem(400, str(error), kind=OUT_OF_BOUNDS, parameter=error.name)
        case UnknownParameter():
            return Problem(
                400,
                str(error),
                kind=UNKNOWN_PARAMETER,
                parameter=error.name,
                suggestion=error.suggestion,
            )
    return Problem(400, str(error))


def too_large(error: TooLarge, last: int) -> Problem:
    """Return the error response to a request beyond the limits of the fibservers.

    Args:
        error: The limit and what it allows.
        last: Index of the last number.
    """
    advice = f"/digits/{last} has the first and last digits of that number"
    if error.setting == "max_answer_bytes":
        advice = f"/fib?start=s&count=c has further ones, and /digits/{last} digits of the last"
    return Problem(
        400,
        f"{error}; {advice}",
        kind=TOO_LARGE,
        setting=error.setting,
        limit=error.limit,
        size=error.size,
        largest_n=error.largest_n,
    )


def rejection_remedy(error: RequestRefused) -> str:
    """Return what an operator can do about a rejection, to append to the error, or ""."""
    remedy = ""
    if error.code == "NOAUTH":
        remedy = "set password_file of fibweb to a file with the password of fibserver"
    elif error.code == "WRONGPASS":
        remedy = "compare the password_file of fibweb with that of fibserver"
    elif str(error).startswith("ERR unknown command"):
        remedy = "check that the setting servers of fibweb has the addresses of fibservers"
    return remedy_after(error, remedy)


def not_matching(tag: str | None) -> Problem:
    """Return the error for an If-Match that does not list the entity tag of the response."""
    return Problem(412, entity_tags.mismatch(tag))


def check_without_tag(environ: Mapping[str, Any]) -> None:
    """Check the preconditions of a request whose response has no entity tag.

    Args:
        environ: WSGI environ of the request.

    Raises:
        Problem: If-Match lists entity tags.
    """
    if not entity_tags.is_match(environ.get("HTTP_IF_MATCH"), None):
        raise not_matching(None)


def add_problems(app: falcon.App[Any, Any], names: Collection[str] = ()) -> None:
    """Register handlers that turn all errors into responses.

    Args:
        app: The application.
        names: First segments of the paths of its routes, for suggestions.
    """
    app.set_error_serializer(partial(_write, frozenset(names)))
    app.add_error_handler(Exception, _on_bug)
    app.add_error_handler(FibError, _on_client_error)
    for error in (WouldBlock, Overloaded):
        app.add_error_handler(error, _pass_on)


def _on_client_error(
    request: falcon.Request,
    response: falcon.Response,
    error: FibError,
    parameters: dict[str, object],
) -> NoReturn:
    """Translate an error of the client library: 400, 502 or 503."""
    if isinstance(error, RequestRefused):
        if error.code == "LIMIT":
            raise Problem(400, str(error), kind=TOO_LARGE)
        if error.is_temporary:
            raise unavailable(f"fibserver is unavailable: {error}")
        remedy = rejection_remedy(error)
        _log.error("fibserver rejected a request: %s%s", error, remedy)
        raise Problem(502, f"fibserver rejected the request: {error}{remedy}")
    if isinstance(error, ServerUnreachable | ClientClosed):
        # Not the error itself, which names addresses; operators get it from /readyz.
        raise unavailable(
            "fibserver is unavailable: none can be reached; try again later, /readyz has the cause"
        )
    _log.error("invalid reply from fibserver: %s; check the setting servers", error)
    raise Problem(502, "invalid reply from fibserver: the log of fibweb has it, and what to check")


def _on_bug(
    request: falcon.Request,
    response: falcon.Response,
    error: Exception,
    parameters: dict[str, object],
) -> NoReturn:
    _log.error("request %s failed", _request_id(request), exc_info=error)
    raise Problem(500, FAILURE)


def _pass_on(
    request: falcon.Request,
    response: falcon.Response,
    error: Exception,
    parameters: dict[str, object],
) -> NoReturn:
    """Let the HTTP server handle it: it runs the application again later, or sends 503."""
    raise error


def _write(
    names: frozenset[str],
    request: falcon.Request,
    response: falcon.Response,
    error: falcon.HTTPError,
) -> None:
    """Write an error response.

    Args:
        names: First segments of the paths of the routes.
        request: The request.
        response: The response, with the status and headers of the error.
        error: The error.
    """
    _, _, title = falcon.code_to_http_status(error.status).partition(" ")
    prefix, path = mount_path(request.env), requested_path(request.env)
    kind = error.kind if isinstance(error, Problem) else None
    link = None
    # Other errors have other causes than a slip in the address.
    if error.status_code in (400, 404) and kind in (None, UNKNOWN_PARAMETER):
        link = suggest_address(path, request.query_string, names)
    members: dict[str, object] = {}
    if kind:
        members = {"type": f"{prefix}/problems/{kind.name}", "title": kind.title}
    if isinstance(error, Problem):
        members |= error.members
    if link:
        members["link"] = prefix + link
    problem = problem_members(
        error.status_code,
        error.description or _detail(request, error) or title,
        prefix + quote(unquote(path)),
        _request_id(request),
        members,
    )
    response.set_header("Cache-Control", "no-store")
    response.set_header("Vary", "Accept")
    response.set_header("X-Request-ID", _request_id(request))
    if _prefers_html(request):
        # Imported by the first error of a browser: styles and templates delay each start.
        from fibweb.resources.html_shell import HTML, plain_shell
        from fibweb.resources.problem_html import problem_html

        response.set_headers(plain_shell().headers)
        response.content_type = HTML
        body = problem_html(
            problem,
            relative_root(request.env),
            link=link,
            kind=kind.name if kind else "",
            retry_after=response.get_header("Retry-After"),
            has_reference="docs" in names,
        )
    else:
        response.content_type = PROBLEM_MEDIA_TYPE
        body = json.dumps(problem).encode()
    set_compressed(request, response, body)


def _prefers_html(request: falcon.Request) -> bool:
    accept = request.env.get("HTTP_ACCEPT", "")
    is_parsed = bool(accept) and len(accept) <= MAX_ACCEPT_CHARACTERS
    return is_parsed and choose(accept, _OFFERS) == falcon.MEDIA_HTML


def _detail(request: falcon.Request, error: falcon.HTTPError) -> str:
    """Return the detail of an error that Falcon raises itself, or ""."""
    prefix = mount_path(request.env)
    path = repr(f"{prefix}{request.path}"[:SHOWN_CHARACTERS])
    match error.status_code:
        case 404:
            return (
                f"the path {path} does not exist: numbers are at paths such as {prefix}/fib/10, "
                f"and {prefix}/openapi.json has all paths"
            )
        case 405:
            method = repr(request.method[:SHOWN_CHARACTERS])
            allowed = dict(error.headers or {}).get("Allow", "GET")
            return f"the path {path} does not support the method {method}: use one of {allowed}"
    return ""


def _request_id(request: falcon.Request) -> str:
    """Return the request id from the HTTP server, or a new one under other servers."""
    return str(request.env.setdefault("fibweb.request_id", uuid.uuid4().hex))
