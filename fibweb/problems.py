"""Errors as problem details (RFC 9457): one form for all of them, whoever is at fault."""

import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import falcon

from fibclient import ClientClosed, FibError, RequestRefused, ServerUnreachable
from fibweb.fetch import Overloaded, WouldBlock
from fibweb.mounting import mount_path

__all__ = ["MEDIA_TYPE", "Problem", "add_problems", "problem_body"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

_TRY_AGAIN = {"BUSY", "NOSPACE", "SHUTDOWN"}
_DETAILS = {
    404: "there is nothing at this path",
    405: "this method is not for this path; Allow says which are",
}
_log = logging.getLogger("fibweb")


class Problem(falcon.HTTPError):
    """An error to answer with.

    Attributes:
        members: what the body says beside the usual.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        """Describe an error.

        Args:
            status: of HTTP, 400 to 599.
            detail: what is wrong, with the value, and what would be right.
            headers: of the answer, beside the usual.
            members: of the body, beside the usual.
        """
        super().__init__(status, description=detail, headers=dict(headers or {}))
        self.members = members


def add_problems(app: falcon.App[Any, Any]) -> None:
    """Have an application answer all errors as problem details."""
    app.set_error_serializer(_write)
    app.add_error_handler(Exception, _on_bug)
    app.add_error_handler(FibError, _on_client_error)
    app.add_error_handler(Overloaded, _on_overload)
    app.add_error_handler(WouldBlock, _pass_on)


def _on_client_error(
    request: falcon.Request,
    response: falcon.Response,
    error: FibError,
    parameters: dict[str, object],
) -> NoReturn:
    """Translate a failure of the client: the request's, or a service that is not there."""
    code = error.code if isinstance(error, RequestRefused) else ""
    if code == "LIMIT":
        raise Problem(400, str(error))
    if code in _TRY_AGAIN or isinstance(error, ServerUnreachable | ClientClosed):
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        raise Problem(503, f"no answer from fibserver: {error}", headers)
    _log.error("fibserver answered what it should not: %s", error)
    raise Problem(502, f"fibserver answered what it should not: {error}")


def _on_bug(
    request: falcon.Request,
    response: falcon.Response,
    error: Exception,
    parameters: dict[str, object],
) -> NoReturn:
    _log.error("request %s failed", _request_id(request), exc_info=error)
    raise Problem(500, "fibweb failed to answer; its log says why")


def _pass_on(
    request: falcon.Request,
    response: falcon.Response,
    error: WouldBlock,
    parameters: dict[str, object],
) -> NoReturn:
    """Leave it to the HTTP server, which runs the application again when the bytes have come."""
    raise error


def _on_overload(
    request: falcon.Request,
    response: falcon.Response,
    error: Overloaded,
    parameters: dict[str, object],
) -> NoReturn:
    """Ask the client to come back later."""
    raise Problem(503, str(error), {"Retry-After": str(error.retry_after_seconds)})


def _write(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    _, _, title = falcon.code_to_http_status(error.status).partition(" ")
    response.content_type = MEDIA_TYPE
    response.set_header("Cache-Control", "no-store")
    response.set_header("X-Request-ID", _request_id(request))
    response.data = problem_body(
        error.status_code,
        title,
        error.description or _DETAILS.get(error.status_code, title),
        _request_id(request),
        instance=mount_path(request.env) + quote(request.path),
        **(error.members if isinstance(error, Problem) else {}),
    )


def problem_body(
    status: int,
    title: str,
    detail: str,
    request_id: str,
    instance: str | None = None,
    **members: object,
) -> bytes:
    """Return the body of an error.

    Args:
        status: Of HTTP, 400 to 599.
        title: What HTTP calls it.
        detail: What is wrong.
        request_id: Of the request.
        instance: The path of the request, if it has one.
        members: What the body has besides.
    """
    # What there is to say beyond the status is said in words (RFC 9457, section 4.2.1).
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if instance is not None:
        problem["instance"] = instance
    return json.dumps({**problem, "request_id": request_id, **members}).encode()


def _request_id(request: falcon.Request) -> str:
    """Return what the HTTP server calls the request; behind another server, a new name."""
    return str(request.env.setdefault("fibweb.request_id", uuid.uuid4().hex))
