"""Errors as problem details (RFC 9457): one form for all of them, whoever is at fault."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import falcon

from fibclient import ClientClosed, FibError, RequestRefused, ServerUnreachable
from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE, problem_body
from fibweb.content.fetch import Overloaded, WouldBlock
from fibweb.http.mounting import mount_path

__all__ = ["Problem", "add_problems"]

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
    for error in (WouldBlock, Overloaded):
        app.add_error_handler(error, _pass_on)


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
    error: Exception,
    parameters: dict[str, object],
) -> NoReturn:
    """Leave it to the HTTP server, which runs the application again later, or sends 503."""
    raise error


def _write(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    _, _, title = falcon.code_to_http_status(error.status).partition(" ")
    request_id = _request_id(request)
    response.content_type = PROBLEM_MEDIA_TYPE
    response.set_header("Cache-Control", "no-store")
    response.set_header("X-Request-ID", request_id)
    response.data = problem_body(
        error.status_code,
        error.description or _DETAILS.get(error.status_code, title),
        mount_path(request.env) + quote(request.path),
        request_id,
        error.members if isinstance(error, Problem) else None,
    )


def _request_id(request: falcon.Request) -> str:
    """Return what the HTTP server calls the request; behind another server, a new name."""
    return str(request.env.setdefault("fibweb.request_id", uuid.uuid4().hex))
