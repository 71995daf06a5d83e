"""Problem details (RFC 9457): the body of every HTTP error, in both services."""

import json
from collections.abc import Mapping
from http import HTTPStatus

__all__ = ["PROBLEM_MEDIA_TYPE", "problem_body", "reason_phrase"]

PROBLEM_MEDIA_TYPE = "application/problem+json"

_PHRASES = {413: "Content Too Large", 416: "Range Not Satisfiable"}
"""Where Python before 3.13 has the words of older RFCs."""


def reason_phrase(status: int) -> str:
    """Return the words for a status, as in RFC 9110.

    Args:
        status: of HTTP, 400 to 599.
    """
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def problem_body(
    status: int,
    detail: str,
    instance: str = "",
    request_id: str = "",
    members: Mapping[str, object] | None = None,
) -> bytes:
    """Return the body of an error.

    Args:
        status: of HTTP, 400 to 599.
        detail: what is wrong, with the value, and what would be right.
        instance: the path of the request, percent-encoded; empty if it is not known.
        request_id: names the request in the log; empty if it has no name there.
        members: of the body, beside the usual.
    """
    problem: dict[str, object] = {
        # What there is to say beyond the status is said in words (RFC 9457, section 4.2.1).
        "type": "about:blank",
        "title": reason_phrase(status),
        "status": status,
        "detail": detail,
    }
    if instance:
        problem["instance"] = instance
    if request_id:
        problem["request_id"] = request_id
    return json.dumps(problem | dict(members or {})).encode()
