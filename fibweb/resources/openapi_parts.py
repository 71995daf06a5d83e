"""What the OpenAPI document is put together from: a table of operations, and what they share.

An example's summary is the request that it answers: method and target, and behind `, ` a header.
"""

import re
from typing import Any

from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE as PROBLEM
from fibweb.http.representations import AVAILABLE, CACHE_CONTROL, MEDIA_TYPES, NEGOTIABLE

__all__ = ["COMPONENTS", "INTRODUCTION", "OPERATIONS", "Json"]

Json = dict[str, Any]

INTRODUCTION = """\
The first N Fibonacci numbers, exactly, at any size: F(0) = 0, F(1) = 1 (OEIS A000045).

Numbers are strings in JSON, since most readers of JSON lose digits of large ones. Answers never
change: each has a strong entity tag and may be kept for ever. Any run of an answer's bytes can be
had by itself, so a download that broke off can be resumed.

How large n may be is up to the settings of the servers behind (`max_index`, `max_answer_bytes`):
beyond that the answer is 400 and says the limit."""

_INDEX = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$"}
"""In a URL; the type is string for the sake of its spelling."""

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_DIGITS = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(**properties: Json) -> Json:
    return _object(**properties, N=_COUNT, result={"type": "array", "items": _DIGITS})


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _query(name: str, schema: Json, description: str, example: str | None = None) -> Json:
    parameter = {"name": name, "in": "query", "schema": schema, "description": description}
    return parameter if example is None else {**parameter, "example": example}


def _header_parameter(name: str, description: str) -> Json:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _header(description: str, *, required: bool = True, **schema: object) -> Json:
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string", **schema},
    }


_PARAMETERS = {
    "Format": _query(
        "format",
        {"type": "string", "enum": list(MEDIA_TYPES)},
        "The format to answer in, whatever Accept says. `bfile` is that of OEIS; in `binary` each "
        "number is its length in bytes, four bytes little-endian, and then so many bytes, "
        "little-endian.",
    ),
    "Download": _query(
        "download",
        {"type": "string"},
        "If it is there, with any value or none, browsers save the answer to a file.",
    ),
    "IfNoneMatch": _header_parameter("If-None-Match", "304 if it lists the answer's entity tag."),
    "IfMatch": _header_parameter("If-Match", "412 if it does not list the answer's entity tag."),
    "Range": _header_parameter(
        "Range",
        "The bytes to answer with: `bytes=0-99`, `bytes=100-` or `bytes=-100`. Several ranges, "
        "or what makes no sense, is ignored.",
    ),
    "IfRange": _header_parameter(
        "If-Range", "Range is ignored unless this is the answer's entity tag."
    ),
}

_KEPT_HEADERS = {
    "ETag": _header("A strong entity tag: it stands for these very bytes.", pattern='^".+"$'),
    "Cache-Control": _header("The answer never changes.", const=CACHE_CONTROL),
    "Vary": _header("What the answer depends on beside its URL.", pattern="Accept"),
}
_NUMBER_HEADERS = {
    **_KEPT_HEADERS,
    "Accept-Ranges": _header("Range may be used.", const="bytes"),
    "Content-Disposition": _header(
        "A name to save the answer as.", pattern='^(inline|attachment); filename="[^"]+"$'
    ),
}


def _with_header(response: Json, name: str, description: str) -> Json:
    return {**response, "headers": {**response["headers"], name: _header(description)}}


def _failure(description: str, **examples: Json) -> Json:
    """Return a response with a problem in it.

    Args:
        description: when it is answered.
        examples: by name.
    """
    return {
        "description": description,
        "headers": {
            "Cache-Control": _header("Errors are not to be kept.", const="no-store"),
            "X-Request-ID": _header("What the log calls the request."),
        },
        "content": {PROBLEM: {"schema": _ref("schemas", "Problem"), "examples": examples}},
    }


def _example(request: str, value: object) -> Json:
    return {"summary": f"GET {request}", "value": value}


def _problem(request: str, status: int, title: str, detail: str, **members: object) -> Json:
    """Return an example of a problem, and of the request that it answers."""
    instance = re.split("[?,]", request)[0]
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return _example(request, {**problem, "instance": instance, "request_id": "5f2c", **members})


_NOT_MODIFIED = {"description": "The client has it already."}
_RETRY = _with_header(
    _failure("No server answers, or they are overloaded."),
    "Retry-After",
    "The seconds to wait before trying again.",
)


def _numbers(
    operation_id: str,
    summary: str,
    schema: str,
    parameters: list[Json],
    wrong: tuple[str, str],
    right: tuple[str, Json],
) -> Json:
    """Return the operation of a route that answers with numbers.

    Args:
        operation_id: a name for programs.
        summary: one for people.
        schema: the component that describes its JSON.
        parameters: its own.
        wrong: the target of a bad request, and what it is told.
        right: the target of a good one up to the format's name, and its answer in each format.
    """
    content: Json = {}
    for name, media_type in MEDIA_TYPES.items():
        kind = media_type.partition(";")[0]
        described = content.setdefault(kind, {"schema": _TEXT, "examples": {}})
        if name in right[1]:
            described["examples"][name] = _example(right[0] + name, right[1][name])
    content["application/json"]["schema"] = _ref("schemas", schema)
    content["application/octet-stream"] = {}
    bad = _problem(wrong[0], 400, "Bad Request", wrong[1])
    xml = right[0].replace("format=", "format=xml")
    names, types = ", ".join(MEDIA_TYPES), ", ".join(NEGOTIABLE)
    no_format = f"format must be one of {names}"
    image = right[0].partition("format=")[0].rstrip("?&") + ", Accept: image/png"
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [*parameters, *(_ref("parameters", name) for name in _PARAMETERS)],
        "responses": {
            "200": {"description": "All of it.", "headers": _NUMBER_HEADERS, "content": content},
            "206": {
                "description": "The bytes that Range asks for.",
                "headers": {
                    **_NUMBER_HEADERS,
                    "Content-Range": _header("Which.", pattern="^bytes [0-9]+-[0-9]+/[0-9]+$"),
                },
                "content": {kind: {} for kind in content},
            },
            "304": {"description": "The client has it already.", "headers": _KEPT_HEADERS},
            "400": _failure(
                "The request makes no sense, or asks for more than the servers' limits allow.",
                number=bad,
                format=_problem(xml, 400, "Bad Request", no_format, available=AVAILABLE),
            ),
            "405": _with_header(_failure("Another method."), "Allow", "The methods there are."),
            "406": _failure(
                "Accept allows none of the formats.",
                image=_problem(
                    image,
                    406,
                    "Not Acceptable",
                    f"Accept lists none of {types}",
                    available=AVAILABLE,
                ),
            ),
            "412": _failure("If-Match does not list the answer's entity tag."),
            "416": _with_header(
                _failure("The answer has none of the bytes that Range asks for."),
                "Content-Range",
                "How many bytes there are: `bytes */SIZE`.",
            ),
            "431": _failure("Accept has too many characters."),
            "502": _failure("What was asked is no fibserver, or one of another version."),
            "503": _RETRY,
        },
    }


def _operation(
    operation_id: str, summary: str, media_type: str, schema: Json, **responses: Json
) -> Json:
    """Return the operation of a route without parameters.

    Args:
        operation_id: a name for programs.
        summary: one for people.
        media_type: of its answer.
        schema: likewise.
        responses: beside 200 and 405, by `when_` and the status.
    """
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": schema}}},
            "405": _with_header(_failure("Another method."), "Allow", "The methods there are."),
            **{when.removeprefix("when_"): response for when, response in responses.items()},
        },
    }


_PATH_INDEX = {"name": "n", "in": "path", "required": True, "schema": _INDEX, "example": "10"}

OPERATIONS: dict[str, Json] = {
    "/fib/{n:path}": _numbers(
        "first",
        "The first n numbers: F(0) to F(n-1)",
        "FirstNumbersResource",
        [{**_PATH_INDEX, "description": "How many."}],
        ("/fib/-1", "n must be a non-negative decimal integer, not '-1'"),
        (
            "/fib/4?format=",
            {
                "json": {"N": 4, "result": ["0", "1", "1", "2"]},
                "text": "0\n1\n1\n2\n",
                "csv": "0,0\n1,1\n2,1\n3,2\n",
                "ndjson": "".join(
                    f'{{"n":{n},"value":"{value}"}}\n' for n, value in enumerate((0, 1, 1, 2))
                ),
                "bfile": "0 0\n1 1\n2 1\n3 2\n",
            },
        ),
    ),
    "/fib": _numbers(
        "part",
        "`count` numbers from F(start) on",
        "RangeResource",
        [
            _query("start", _INDEX, "The index of the first; 0 by default.", "5"),
            {**_query("count", _INDEX, "How many.", "3"), "required": True},
        ],
        ("/fib?start=5", "count is missing: how many numbers"),
        (
            "/fib?start=5&count=3&format=",
            {
                "json": {"start": 5, "N": 3, "result": ["5", "8", "13"]},
                "text": "5\n8\n13\n",
                "csv": "5,5\n6,8\n7,13\n",
                "ndjson": "".join(
                    f'{{"n":{n},"value":"{value}"}}\n' for n, value in ((5, 5), (6, 8), (7, 13))
                ),
                "bfile": "5 5\n6 8\n7 13\n",
            },
        ),
    ),
    "/number/{n:path}": _numbers(
        "number",
        "F(n) alone",
        "NumberResource",
        [{**_PATH_INDEX, "description": "Its index."}],
        ("/number/1e3", "n must be a non-negative decimal integer, not '1e3'"),
        (
            "/number/100?format=",
            {
                "json": {"n": 100, "value": "354224848179261915075"},
                "text": "354224848179261915075\n",
                "csv": "100,354224848179261915075\n",
                "ndjson": '{"n":100,"value":"354224848179261915075"}\n',
                "bfile": "100 354224848179261915075\n",
            },
        ),
    ),
    "/": _operation("page", "A page for people", "text/html", _TEXT, when_304=_NOT_MODIFIED),
    "/healthz": _operation("healthz", "Whether fibweb is alive", "text/plain", _TEXT),
    "/readyz": _operation(
        "readyz", "Whether a fibserver answers in time", "text/plain", _TEXT, when_503=_RETRY
    ),
    "/metrics": _operation("metrics", "MetricValues for Prometheus", "text/plain", _TEXT),
    "/status": _operation(
        "status",
        "How fibweb and its servers are",
        "application/json",
        {
            "type": "object",
            "properties": {"servers": {"type": "array", "items": {"type": "object"}}},
            "required": ["servers"],
        },
    ),
    "/openapi.json": _operation(
        "openapi",
        "This document",
        "application/json",
        {"type": "object"},
        when_304=_NOT_MODIFIED,
    ),
}
"""By path as Falcon has it."""

COMPONENTS: Json = {
    "parameters": _PARAMETERS,
    "schemas": {
        "FirstNumbersResource": _list_of(),
        "RangeResource": _list_of(start=_COUNT),
        "NumberResource": _object(n=_COUNT, value=_DIGITS),
        "Problem": {
            "description": "What went wrong (RFC 9457).",
            "type": "object",
            "properties": {
                "type": {"const": "about:blank"},
                "title": {"type": "string", "description": "The status in words."},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string", "description": "What is wrong, and what is right."},
                "instance": {"type": "string", "format": "uri-reference"},
                "request_id": {"type": "string", "description": "To look for in the log."},
                "available": {
                    "description": "What format or Accept may ask for.",
                    "type": "array",
                    "items": _object(format={"type": "string"}, media_type={"type": "string"}),
                },
            },
            "required": ["type", "title", "status", "detail", "instance", "request_id"],
            "additionalProperties": False,
        },
    },
}
