"""Problem details (RFC 9457), the bodies of HTTP errors in both services."""

import json
from collections.abc import Mapping
from http import HTTPStatus

__all__ = ["FAILURE", "PROBLEM_MEDIA_TYPE", "problem_body", "problem_members", "reason_phrase"]

PROBLEM_MEDIA_TYPE = "application/problem+json"

FAILURE = "internal error: the log of the service has the cause, under the request_id"
"""Detail of a response with status 500."""

_PHRASES = {413: "Content Too Large", 416: "Range Not Satisfiable"}
"""Phrases of RFC 9110 where Python before 3.13 has those of older RFCs."""


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status, as in RFC 9110.

    Args:
        status: HTTP status, 400 to 599.
    """
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def problem_body(status: int, detail: str, instance: str = "", request_id: str = "") -> bytes:
    """Return the body of an error response as JSON; the arguments are those of the members."""
    return json.dumps(problem_members(status, detail, instance, request_id)).encode()


def problem_members(
    status: int,
    detail: str,
    instance: str = "",
    request_id: str = "",
    members: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the members of a problem.

    Args:
        status: HTTP status, 400 to 599.
        detail: The problem, the value and what is allowed.
        instance: Path of the request, percent-encoded; empty if it is unknown.
        request_id: Id of the request in the log, or empty.
        members: Additional members.
    """
    problem: dict[str, object] = {
        # The type of problems that the status describes (RFC 9457, section 4.2.1).
        "type": "about:blank",
        "title": reason_phrase(status),
        "status": status,
        "detail": detail,
    }
    if instance:
        problem["instance"] = instance
    if request_id:
        problem["request_id"] = request_id
    return problem | dict(members or {})
