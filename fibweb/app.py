"""The REST application: routes, and errors as problem details (RFC 9457)."""

import json
import re

import falcon

from fibclient import FibClient, FibError, RequestRefused

__all__ = ["create_app"]

# No sign, no padding, no other script's digits.
_INDEX = re.compile(r"0|[1-9][0-9]*")

MAX_INDEX_DIGITS = 19
"""Longer than any limit that a fibserver can be given."""

RETRY_AFTER_SECONDS = 1


def create_app(client: FibClient) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application.

    Args:
        client: asks the servers; it stays the caller's to close.
    """
    app = falcon.App()
    app.set_error_serializer(_write_problem)
    app.add_error_handler(FibError, _raise_http_error)
    # A "path" takes the rest of the URL, so whatever is wrong with n meets one check.
    app.add_route("/fib/{n:path}", _First(client))
    return app


class _First:
    """`/fib/{n}`: the first n numbers."""

    def __init__(self, client: FibClient) -> None:
        self._client = client

    def on_get(self, request: falcon.Request, response: falcon.Response, n: str) -> None:
        if not _INDEX.fullmatch(n):
            raise falcon.HTTPBadRequest(
                title="Bad n",
                description=f"n must be a non-negative decimal integer, not {n[:64]!r}",
            )
        if len(n) > MAX_INDEX_DIGITS:
            raise falcon.HTTPBadRequest(
                title="Too large", description=f"n has {len(n)} digits, beyond any limit"
            )
        numbers = self._client.read(0, int(n), "json")
        response.content_type = falcon.MEDIA_JSON
        response.data = b'{"N": %b, "result": [%b]}' % (n.encode("ascii"), numbers)


def _raise_http_error(
    request: falcon.Request,
    response: falcon.Response,
    error: FibError,
    parameters: dict[str, object],
) -> None:
    """Translate a failure of the client: the caller's fault, or a service that is not there."""
    if isinstance(error, RequestRefused) and error.code == "LIMIT":
        raise falcon.HTTPBadRequest(title="Too large", description=str(error))
    raise falcon.HTTPServiceUnavailable(
        title="No answer from fibserver", description=str(error), retry_after=RETRY_AFTER_SECONDS
    )


def _write_problem(
    request: falcon.Request, response: falcon.Response, error: falcon.HTTPError
) -> None:
    problem = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status_code,
        "detail": error.description,
    }
    present = {key: value for key, value in problem.items() if value is not None}
    response.content_type = "application/problem+json"
    response.data = json.dumps(present).encode()
