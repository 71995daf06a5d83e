"""Operations and components of the OpenAPI document.

The summary of an example is its request: the method, the target and, after `, `, a header.
"""

import re
from typing import Any

from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE as PROBLEM
from fibcommon.limits import Limits
from fibweb.http.representations import AVAILABLE, CACHE_CONTROL, MEDIA_TYPES, NEGOTIABLE
from fibweb.resources.problem_types import PROBLEM_TYPES, UNKNOWN_PARAMETER, ProblemType

__all__ = ["COMPONENTS", "INTRODUCTION", "OPERATIONS", "TAGS", "Json"]

Json = dict[str, Any]

INTRODUCTION = """\
The first N Fibonacci numbers, ranges and single ones, exactly: F(0) = 0, F(1) = 1 (OEIS A000045).

Numbers are strings in JSON, because most JSON parsers lose digits of large ones. Responses never
change: each has a strong entity tag and may be cached forever. Byte ranges can be requested, so an
interrupted download can be resumed.

The settings `max_index` and `max_answer_bytes` of the fibservers limit n: `/limits` has what they
allow. A request beyond them gets a 400 that names the limit and the largest n."""

TAGS = {
    "Numbers": "Fibonacci numbers with all their digits, in six formats.",
    "Facts about numbers of any size": "What is known of F(n) without computing it, for n far "
    "beyond the limits, and the way back from a number to its index. Always JSON.",
    "Limits and descriptions": "What the service allows, and documents about it.",
    "Operation": "For those who run the service.",
}
"""Groups of operations, and their descriptions."""

_NUMBERS, _FACTS, _ABOUT, _FOR_OPERATORS = TAGS


def _number(description: str, pattern: str) -> Json:
    """Return the schema of a number in a URL.

    It is a string, because only one spelling of each number is valid.

    Args:
        description: Its bounds.
        pattern: Regular expression that it matches.
    """
    return {"type": "string", "pattern": pattern, "description": description}


_INDEX = _number("An integer of at most 19 digits.", "^(0|[1-9][0-9]{0,18})$")
_LARGE_INDEX = _number("An integer of at most 1,000 digits.", "^(0|[1-9][0-9]{0,999})$")

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


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _list_of(**properties: Json) -> Json:
    return _object(**properties, N=_COUNT, result=_array(_DIGITS))


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _query(name: str, schema: Json, description: str, example: str | None = None) -> Json:
    parameter = {"name": name, "in": "query", "schema": schema, "description": description}
    return parameter if example is None else {**parameter, "example": example}


def _header_parameter(name: str, bounds: str, description: str) -> Json:
    schema = {"type": "string", "description": bounds}
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _header(description: str, *, required: bool = True, **schema: object) -> Json:
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string", **schema},
    }


_TAG_LIST = "Entity tags in quotes, separated by commas, or `*`."

_PARAMETERS = {
    "Format": _query(
        "format",
        {"type": "string", "enum": list(MEDIA_TYPES)},
        "The format of the response; it overrides Accept. `bfile` is the format of OEIS b-files. "
        "In `binary` each number is its length in bytes (four bytes, little-endian), then its "
        "bytes, little-endian.",
    ),
    "Download": {
        **_query(
            "download",
            {"type": "string", "description": "It needs no value."},
            "If present, browsers save the response to a file.",
        ),
        "allowEmptyValue": True,
    },
    "IfNoneMatch": _header_parameter(
        "If-None-Match", _TAG_LIST, "304 if it lists the entity tag."
    ),
    "IfMatch": _header_parameter("If-Match", _TAG_LIST, "412 if it does not list the entity tag."),
    "Range": _header_parameter(
        "Range",
        "One range of bytes.",
        "The bytes to return: `bytes=0-99`, `bytes=100-` or `bytes=-100`. Invalid and multiple "
        "ranges are ignored.",
    ),
    "IfRange": _header_parameter(
        "If-Range", "An entity tag.", "Range is ignored unless this is the current entity tag."
    ),
}

_CACHE_HEADERS = {
    "ETag": _header("A strong entity tag: equal tags mean equal bytes.", pattern='^".+"$'),
    "Cache-Control": _header("The response never changes.", const=CACHE_CONTROL),
    "Vary": _header("Accept selects the format.", pattern="Accept"),
}
_NUMBER_HEADERS = {
    **_CACHE_HEADERS,
    "Accept-Ranges": _header("Byte ranges are supported.", const="bytes"),
    "Content-Disposition": _header(
        "A file name for the response.", pattern='^(inline|attachment); filename="[^"]+"$'
    ),
}


def _with_header(response: Json, name: str, description: str) -> Json:
    return {**response, "headers": {**response["headers"], name: _header(description)}}


def _failure(description: str, **examples: Json) -> Json:
    """Return an error response.

    Args:
        description: When it is sent.
        examples: Examples by name.
    """
    return {
        "description": description,
        "headers": {
            "Cache-Control": _header("Errors must not be cached.", const="no-store"),
            "X-Request-ID": _header("The id of the request in the log."),
            "Vary": _header("Accept selects the format.", required=False),
        },
        "content": {
            PROBLEM: {"schema": _ref("schemas", "Problem"), "examples": examples},
            "text/html": {"schema": _TEXT},
        },
    }


def _example(request: str, value: object) -> Json:
    return {"summary": f"GET {request}", "value": value}


def _problem(
    request: str,
    status: int,
    title: str,
    detail: str,
    kind: ProblemType | None = None,
    **members: object,
) -> Json:
    """Return an example of a problem, with its request as the summary.

    Args:
        request: Target and headers of the request.
        status: HTTP status.
        title: Title; that of the type replaces it.
        detail: Detail.
        kind: Type of the problem, if the status does not tell all.
        members: Further members.
    """
    instance = re.split("[?,]", request)[0]
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if kind:
        problem |= {"type": f"/problems/{kind.name}", "title": kind.title}
    return _example(request, {**problem, "instance": instance, "request_id": "5f2c", **members})


_NOT_MODIFIED = {"description": "The client has the response already."}
_NOT_ALLOWED = _with_header(
    _failure("The method is not supported."), "Allow", "The supported methods."
)
_RETRY = _with_header(
    _failure("No fibserver is available, or the service is overloaded."),
    "Retry-After",
    "The seconds to wait before a retry.",
)

_FAILURES = {
    "412": _failure("If-Match does not list the entity tag."),
    "502": _failure("The fibserver sent an invalid reply or rejected the password."),
    "503": _RETRY,
}
"""Errors that all routes with numbers have."""


def _misspelled(request: str) -> Json:
    return _problem(
        request,
        400,
        "",
        "unknown parameter 'formt': format was probably meant",
        UNKNOWN_PARAMETER,
        parameter="formt",
        suggestion="format",
        link=request.replace("formt=", "format="),
    )


def _numbers(
    operation_id: str,
    summary: str,
    schema: str,
    parameters: list[Json],
    wrong: tuple[str, str, str],
    right: tuple[str, Json],
    headers: Json = _NUMBER_HEADERS,
) -> Json:
    """Return the operation of a route that returns numbers.

    Args:
        operation_id: The operationId.
        summary: A short description.
        schema: Name of the component that describes the JSON.
        parameters: Parameters that only this operation has.
        wrong: Target of an invalid request, the error detail, and the suggested address.
        right: Target of a valid request without the name of the format, and the body by format.
        headers: Headers of the response.
    """
    cache_headers = {name: headers[name] for name in _CACHE_HEADERS}
    content: Json = {}
    for name, media_type in MEDIA_TYPES.items():
        kind = media_type.partition(";")[0]
        described = content.setdefault(kind, {"schema": _TEXT, "examples": {}})
        if name in right[1]:
            described["examples"][name] = _example(right[0] + name, right[1][name])
    content["application/json"]["schema"] = _ref("schemas", schema)
    content["application/octet-stream"] = {}
    bad = _problem(wrong[0], 400, "Bad Request", wrong[1], link=wrong[2])
    xml = right[0].replace("format=", "format=xml")
    names = ", ".join(MEDIA_TYPES)
    types = ", ".join(kind.partition(";")[0] for kind in NEGOTIABLE)
    no_format = f"format must be one of {names}, not 'xml'"
    image = right[0].partition("format=")[0].rstrip("?&") + ", Accept: image/png"
    return {
        "operationId": operation_id,
        "tags": [_NUMBERS],
        "summary": summary,
        "parameters": [*parameters, *(_ref("parameters", name) for name in _PARAMETERS)],
        "responses": {
            "200": {
                "description": "The whole response.",
                "headers": headers,
                "content": content,
            },
            "206": {
                "description": "The bytes that Range selects.",
                "headers": {
                    **headers,
                    "Content-Range": _header(
                        "The range and the total size.",
                        pattern="^bytes [0-9]+-[0-9]+/[0-9]+$",
                    ),
                },
                "content": {kind: {} for kind in content},
            },
            "304": {**_NOT_MODIFIED, "headers": cache_headers},
            "400": _failure(
                "A parameter is invalid, or the response would exceed the limits of fibserver.",
                number=bad,
                misspelled=_misspelled(right[0].replace("format=", "formt=csv")),
                format=_problem(
                    xml,
                    400,
                    "Bad Request",
                    no_format,
                    available=AVAILABLE,
                    link=right[0].partition("format=")[0].rstrip("?&"),
                ),
            ),
            "405": _NOT_ALLOWED,
            "406": _failure(
                "Accept allows none of the formats.",
                image=_problem(
                    image,
                    406,
                    "Not Acceptable",
                    f"Accept is 'image/png', but the formats are {types}: list one, or add "
                    "e.g. ?format=csv",
                    available=AVAILABLE,
                ),
            ),
            "416": _with_header(
                _failure("Range selects no bytes."),
                "Content-Range",
                "The number of bytes: `bytes */SIZE`.",
            ),
            "431": _failure("Accept is too long."),
            **_FAILURES,
        },
    }


def _computed(
    operation_id: str,
    summary: str,
    schema: str,
    parameters: list[Json],
    wrong: tuple[str, str, str],
    right: tuple[str, Json],
) -> Json:
    """Return the operation of a route that returns a small document, always as JSON.

    Args:
        operation_id: The operationId.
        summary: A short description.
        schema: Name of the component that describes the document.
        parameters: Parameters that only this operation has.
        wrong: Target of an invalid request, the error detail, and the suggested address.
        right: Target of a valid request, and the document.
    """
    conditions = [_ref("parameters", name) for name in ("IfNoneMatch", "IfMatch")]
    headers = {name: _CACHE_HEADERS[name] for name in ("ETag", "Cache-Control")}
    examples = {"document": _example(*right)}
    return {
        "operationId": operation_id,
        "tags": [_FACTS],
        "summary": summary,
        "parameters": [*parameters, *conditions],
        "responses": {
            "200": {
                "description": summary,
                "headers": headers,
                "content": {
                    "application/json": {"schema": _ref("schemas", schema), "examples": examples}
                },
            },
            "304": {**_NOT_MODIFIED, "headers": headers},
            "400": _failure(
                "A parameter is invalid or out of bounds, or the computation would take a "
                "fibserver too long.",
                number=_problem(wrong[0], 400, "Bad Request", wrong[1], link=wrong[2]),
            ),
            "405": _NOT_ALLOWED,
            **_FAILURES,
        },
    }


def _operation(
    operation_id: str, tag: str, summary: str, media_type: str, schema: Json, **responses: Json
) -> Json:
    """Return the operation of a route without parameters.

    Args:
        operation_id: The operationId.
        tag: Its group.
        summary: A short description.
        media_type: Media type of the response.
        schema: Schema of the response.
        responses: Responses other than 200 and 405; the names are `when_` and the status.
    """
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": schema}}},
            "405": _NOT_ALLOWED,
            **{when.removeprefix("when_"): response for when, response in responses.items()},
        },
    }


_PATH_INDEX = {"name": "n", "in": "path", "required": True, "schema": _INDEX, "example": "10"}
_DIGIT_COUNT = _number("An integer from 0 to 1,000.", "^(0|[1-9][0-9]{0,2}|1000)$")
_LISTED_DIGITS = _query(
    "digits",
    _DIGIT_COUNT,
    "Instead of the numbers: how many digits each has, and so many of the first and of the last "
    "ones, always as JSON. Then at most 1,000 numbers, and fewer if these digits would be more "
    "than 60,000 in total; and an index may have 1,000 digits.",
)


def _optional(headers: Json) -> Json:
    """Return headers that only numbers have, not the documents in place of them."""
    return {
        name: {**header, "required": name in ("ETag", "Cache-Control")}
        for name, header in headers.items()
    }


OPERATIONS: dict[str, Json] = {
    "/fib/{n:path}": _numbers(
        "first",
        "The first n numbers: F(0) to F(n-1)",
        "FirstNumbers",
        [{**_PATH_INDEX, "description": "How many numbers."}, _LISTED_DIGITS],
        (
            "/fib/-1",
            "n is '-1': give a whole number from 0 on, in digits only, e.g. /fib/10",
            "/fib/10",
        ),
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
        _optional(_NUMBER_HEADERS),
    ),
    "/fib": _numbers(
        "part",
        "`count` numbers, from F(start)",
        "Range",
        [
            _query("start", _INDEX, "The index of the first number; 0 by default.", "5"),
            {**_query("count", _INDEX, "How many numbers.", "3"), "required": True},
            _LISTED_DIGITS,
        ],
        (
            "/fib?start=5",
            "count is missing: give how many numbers to return, e.g. /fib?start=0&count=10",
            "/fib?start=5&count=10",
        ),
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
        {
            **_optional(_NUMBER_HEADERS),
            "Link": _header(
                "The ranges after (`next`) and before (`prev`) this one, with as many numbers.",
                required=False,
                pattern='^<[^>]+>; rel="(next|prev)"',
            ),
        },
    ),
    "/number/{n:path}": _numbers(
        "number",
        "The number F(n), its remainder, or some of its digits",
        "NumberOrRemainder",
        [
            {
                **_PATH_INDEX,
                "schema": _LARGE_INDEX,
                "description": "The index of the number; with `mod` it may have 1,000 digits.",
            },
            _query(
                "mod",
                _number("A positive integer of at most 1,000 digits.", "^[1-9][0-9]{0,999}$"),
                "Instead of the number: its remainder when divided by this one, always as JSON.",
            ),
            _query(
                "from",
                _INDEX,
                "Instead of the number: its decimal digits from this position on, as JSON.",
            ),
            _query(
                "count",
                {"type": "integer", "minimum": 1, "maximum": 10_000},
                "The same: how many digits at most; 100 by default.",
            ),
        ],
        (
            "/number/1e3",
            "n is '1e3': give a whole number from 0 on, in digits only, e.g. /number/100",
            "/number/1000",
        ),
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
        _optional(_NUMBER_HEADERS),
    ),
    "/digits/{n:path}": _computed(
        "digits",
        "The number of digits of F(n), the first and the last ones",
        "Digits",
        [
            {
                **_PATH_INDEX,
                "schema": _LARGE_INDEX,
                "example": str(10**100),
                "description": "The index of the number, below 10^1000.",
            },
            _query("first", _DIGIT_COUNT, "How many of the first digits; 20 by default.", "5"),
            _query("last", _DIGIT_COUNT, "How many of the last digits; 20 by default.", "5"),
        ],
        (
            "/digits/5?first=x",
            "first is 'x': give a whole number from 0 on, in digits only, e.g. "
            "/digits/1000?first=5&last=5",
            "/digits/5",
        ),
        (
            "/digits/1000?first=5&last=5",
            {"n": "1000", "digits": "209", "first": "43466", "last": "28875"},
        ),
    ),
    "/index/{x:path}": _computed(
        "index",
        "Which Fibonacci number x is, or between which ones it lies, and its Zeckendorf sum",
        "Index",
        [
            {
                **_PATH_INDEX,
                "name": "x",
                "schema": _number(
                    "An integer of at most 4,000 digits.", "^(0|[1-9][0-9]{0,3999})$"
                ),
                "example": "832040",
                "description": "The number.",
            }
        ],
        (
            "/index/-1",
            "x is '-1': give a whole number from 0 on, in digits only, e.g. /index/832040",
            "/index/832040",
        ),
        (
            "/index/100",
            {"x": "100", "indices": [], "below": 11, "above": 12, "zeckendorf": [11, 6, 4]},
        ),
    ),
    "/index": _computed(
        "firstIndex",
        "The first index whose number has some number of digits",
        "FirstIndex",
        [
            {
                **_query(
                    "digits",
                    _number("A positive integer of at most 999 digits.", "^[1-9][0-9]{0,998}$"),
                    "The number of digits.",
                    "1000",
                ),
                "required": True,
            }
        ],
        (
            "/index",
            "digits is missing: give the number of digits, e.g. /index?digits=1000",
            "/index/832040",
        ),
        ("/index?digits=1000", {"digits": "1000", "index": "4782"}),
    ),
    "/limits": _operation(
        "limits",
        _ABOUT,
        "The limits of one response, and the largest N of /fib/{n} in each format",
        "application/json",
        _ref("schemas", "Limits"),
        when_502=_FAILURES["502"],
        when_503=_RETRY,
    ),
    "/problems/{name}": {
        **_operation(
            "problem",
            _ABOUT,
            "A page about problems of one type",
            "text/html",
            _TEXT,
            when_404=_failure("There is no such type."),
        ),
        "parameters": [
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": list(PROBLEM_TYPES)},
                "description": "The last segment of the `type` of an error.",
                "example": "too-large",
            }
        ],
    },
    "/": _operation("page", _ABOUT, "The web page", "text/html", _TEXT, when_304=_NOT_MODIFIED),
    "/healthz": _operation(
        "healthz", _FOR_OPERATORS, "Whether fibweb is alive", "text/plain", _TEXT
    ),
    "/readyz": _operation(
        "readyz",
        _FOR_OPERATORS,
        "Whether a fibserver replies in time",
        "text/plain",
        _TEXT,
        when_503=_RETRY,
    ),
    "/metrics": _operation(
        "metrics", _FOR_OPERATORS, "Metrics for Prometheus", "text/plain", _TEXT
    ),
    "/status": _operation(
        "status",
        _FOR_OPERATORS,
        "Status of fibweb and its fibservers",
        "application/json",
        {
            "type": "object",
            "properties": {
                "servers": {"type": "array", "items": {"type": "object"}},
                "public_server": {
                    "type": ["string", "null"],
                    "description": "The address at which clients reach a fibserver, if any.",
                },
            },
            "required": ["servers"],
        },
    ),
    "/docs": _operation(
        "docs",
        _ABOUT,
        "The description of this API for people",
        "text/html",
        _TEXT,
        when_304=_NOT_MODIFIED,
    ),
    "/openapi.json": _operation(
        "openapi",
        _ABOUT,
        "The description of this API for programs (OpenAPI 3.1)",
        "application/json",
        {"type": "object"},
        when_304=_NOT_MODIFIED,
    ),
    "/favicon.ico": _operation(
        "favicon",
        _ABOUT,
        "The icon of the service",
        "image/vnd.microsoft.icon",
        {},
        when_304=_NOT_MODIFIED,
    ),
    "/robots.txt": _operation(
        "robots",
        _ABOUT,
        "What crawlers may request (RFC 9309)",
        "text/plain",
        _TEXT,
        when_304=_NOT_MODIFIED,
    ),
}
"""Operations by the path template of Falcon."""

COMPONENTS: Json = {
    "parameters": _PARAMETERS,
    "schemas": {
        "FirstNumbers": {
            "anyOf": [_list_of(), _object(N=_COUNT, result=_array(_ref("schemas", "Digits")))]
        },
        "Range": {
            "anyOf": [
                _list_of(start=_COUNT),
                _object(start=_DIGITS, N=_COUNT, result=_array(_ref("schemas", "Digits"))),
            ]
        },
        "NumberOrRemainder": {
            "oneOf": [
                _object(n=_COUNT, value=_DIGITS),
                _object(n=_DIGITS, m=_DIGITS, remainder=_DIGITS),
                {
                    **_object(
                        n=_DIGITS,
                        digits=_DIGITS,
                        value={"type": "string", "pattern": "^[0-9]*$"},
                        **{"from": _COUNT},
                    ),
                    "description": "Digits of the number, from a position on.",
                },
            ]
        },
        "Digits": _object(
            n=_DIGITS,
            digits=_DIGITS,
            first={"type": "string", "pattern": "^[0-9]*$"},
            last={"type": "string", "pattern": "^[0-9]*$"},
        ),
        "Index": _object(
            x=_DIGITS,
            indices={
                **_array(_COUNT),
                "description": "Two for 1; empty if x is not a Fibonacci number.",
            },
            below={"type": ["integer", "null"], "description": "null for 0."},
            above=_COUNT,
            zeckendorf=_array(_COUNT),
        ),
        "Limits": _object(
            max_index={**_COUNT, "description": "The largest index of a number."},
            max_answer_bytes={
                **_COUNT,
                "description": "The largest size of the numbers in one response.",
            },
            largest_n=_object(**dict.fromkeys(MEDIA_TYPES, _COUNT)),
        ),
        "FirstIndex": _object(digits=_DIGITS, index=_DIGITS),
        "Problem": {
            "description": "An error as problem details (RFC 9457). A client whose Accept prefers "
            "`text/html`, such as a browser, gets a page instead.",
            "type": "object",
            "properties": {
                "type": {
                    "type": "string",
                    "format": "uri-reference",
                    "pattern": f"^(about:blank|.*/problems/({'|'.join(PROBLEM_TYPES)}))$",
                    "description": "The URI of a page about problems of this type, or "
                    "about:blank if the status tells all.",
                },
                "title": {
                    "type": "string",
                    "description": "What is wrong; the reason phrase of the status if the type "
                    "is about:blank.",
                },
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string", "description": "The problem and what is allowed."},
                "instance": {"type": "string", "format": "uri-reference"},
                "request_id": {
                    "type": "string",
                    "description": "The id of the request in the log.",
                },
                "setting": {
                    "description": "too-large: The name of the limit.",
                    "enum": list(Limits._fields),
                },
                "limit": {**_COUNT, "description": "too-large: The value of the limit."},
                "size": {
                    **_COUNT,
                    "description": "too-large: What the response would have: its last index or "
                    "its number of bytes.",
                },
                "largest_n": {
                    **_COUNT,
                    "description": "too-large: How many numbers from the same start the limits "
                    "allow, in the same format.",
                },
                "parameter": {
                    "description": "out-of-bounds, unknown-parameter: The name of the parameter.",
                    "type": "string",
                },
                "suggestion": {
                    "description": "unknown-parameter: The name that was probably meant.",
                    "type": "string",
                },
                "link": {
                    "description": "The address that was probably meant, or else one that is "
                    "similar: its path and query.",
                    "type": "string",
                    "format": "uri-reference",
                },
                "available": {
                    "description": "The available formats and their media types.",
                    "type": "array",
                    "items": _object(format={"type": "string"}, media_type={"type": "string"}),
                },
            },
            "required": ["type", "title", "status", "detail", "instance", "request_id"],
            "additionalProperties": False,
        },
    },
}
