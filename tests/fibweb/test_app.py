"""Tests of the REST application in process, with a real fibserver."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import falcon
import pytest
from falcon import testing

from fibclient import FibClient
from fibcommon.digits import digits as digits_of
from fibcommon.formats import FORMATS
from fibcommon.indices import position, zeckendorf
from fibweb import create_app
from fibweb.content.fetch_request import FetchRequest, WouldBlock, run_now
from fibweb.http.parameters import PARAMETERS
from fibweb.resources.computed import Computation
from fibweb.resources.openapi_parts import COMPONENTS, OPERATIONS
from fibweb.resources.problem_types import PROBLEM_TYPES
from tests.support.expected import digits, expected
from tests.support.fake_server import fake_server, in_turn
from tests.support.servers import RunningServer

IMMUTABLE = "public, max-age=31536000, immutable"
TYPES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8; header=absent",
    "ndjson": "application/x-ndjson",
    "bfile": "text/plain; charset=utf-8",
    "binary": "application/octet-stream",
}


class Web(testing.TestClient):
    """Test client for an application that may return files."""

    def simulate_request(self, *arguments: Any, **options: Any) -> Any:
        """Add the environ keys that HTTP servers set."""
        return super().simulate_request(*arguments, file_wrapper=_pieces, **options)


def _pieces(file: Any, size: int) -> Iterator[bytes]:
    return map(bytes, iter(lambda: file.read(size), b""))


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[FibClient]:
    """A client of a fibserver."""
    with FibClient(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def web(client: FibClient) -> Web:
    """The application with a fibserver."""
    return Web(create_app(client))


def problem(result: testing.Result, status: int) -> dict[str, Any]:
    """Return the detail of an error, after checking the form of the response."""
    assert result.status_code == status
    assert result.headers["content-type"] == "application/problem+json"
    assert result.headers["cache-control"] == "no-store"
    said: dict[str, Any] = json.loads(result.content)
    if said["type"] == "about:blank":
        assert said["title"] == falcon.code_to_http_status(status).partition(" ")[2]
    else:
        kind = PROBLEM_TYPES[said["type"].removeprefix("/problems/")]
        assert said["title"] == kind.title
    assert said["status"] == status
    assert said["request_id"] == result.headers["x-request-id"]
    assert said["instance"].startswith("/")
    assert said["detail"]
    return said


# Responses


@pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
def test_first_numbers(web: Web, n: int) -> None:
    """`GET /fib/{n}` returns n and the first n numbers, as strings."""
    result = web.simulate_get(f"/fib/{n}")
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert int(result.headers["content-length"]) == len(result.content)
    assert result.json == {"N": n, "result": digits(0, n)}


@pytest.mark.parametrize(("start", "count"), [(0, 0), (0, 1), (5, 3), (7, 0), (300, 700)])
def test_range_of_numbers(web: Web, start: int, count: int) -> None:
    """`GET /fib?start=s&count=c` returns c numbers from F(s)."""
    result = web.simulate_get("/fib", query_string=f"start={start}&count={count}")
    assert result.status_code == 200
    numbers = digits(start, start + count)
    assert result.json == {"start": start, "N": count, "result": numbers}


def test_range_starts_at_0_by_default(web: Web) -> None:
    """The default of start is 0."""
    result = web.simulate_get("/fib?count=3")
    assert result.json == {"start": 0, "N": 3, "result": ["0", "1", "1"]}


@pytest.mark.parametrize("n", [0, 1, 100, 5000])
def test_single_number(web: Web, n: int) -> None:
    """`GET /number/{n}` returns F(n)."""
    result = web.simulate_get(f"/number/{n}")
    assert result.status_code == 200
    assert result.json == {"n": n, "value": digits(n, n + 1)[0]}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/fib/0", b'{"N": 0, "result": []}'),
        ("/fib/3", b'{"N": 3, "result": ["0","1","1"]}'),
        ("/fib?start=5&count=3", b'{"start": 5, "N": 3, "result": ["5","8","13"]}'),
        ("/fib?start=5&count=0", b'{"start": 5, "N": 0, "result": []}'),
        ("/number/0", b'{"n": 0, "value": "0"}'),
        ("/number/100", b'{"n": 100, "value": "354224848179261915075"}'),
    ],
)
def test_json_bodies_have_documented_bytes(web: Web, target: str, body: bytes) -> None:
    """The JSON bodies have the documented bytes."""
    assert web.simulate_get(target).content == body


LARGE = "1" + 100 * "0"


@pytest.mark.parametrize(
    ("target", "document"),
    [
        ("/digits/0", {"n": "0", "digits": "1", "first": "0", "last": "0"}),
        (
            f"/digits/{LARGE}?last=0",
            {
                "n": LARGE,
                "digits": str(digits_of(10**100).digit_count),
                "first": "62449911286460687648",
                "last": "",
            },
        ),
        ("/digits/100?first=3&last=2", {"n": "100", "digits": "21", "first": "354", "last": "75"}),
        ("/number/100?mod=1000", {"n": "100", "m": "1000", "remainder": "75"}),
        ("/number/100?from=2&count=4", {"n": "100", "digits": "21", "from": 2, "value": "4224"}),
        ("/number/7?count=5", {"n": "7", "digits": "2", "from": 0, "value": "13"}),
        ("/number/100?from=20", {"n": "100", "digits": "21", "from": 20, "value": "5"}),
        ("/number/100?from=21", {"n": "100", "digits": "21", "from": 21, "value": ""}),
        (f"/number/{LARGE}?mod=10", {"n": LARGE, "m": "10", "remainder": "5"}),
        ("/fib/0?digits=5", {"N": 0, "result": []}),
        (
            "/fib/2?digits=1&format=csv",
            {
                "N": 2,
                "result": [
                    {"n": "0", "digits": "1", "first": "0", "last": "0"},
                    {"n": "1", "digits": "1", "first": "1", "last": "1"},
                ],
            },
        ),
        (
            "/fib?start=100&count=1&digits=3",
            {
                "start": "100",
                "N": 1,
                "result": [{"n": "100", "digits": "21", "first": "354", "last": "075"}],
            },
        ),
        (
            "/index/1",
            {"x": "1", "indices": [1, 2], "below": 0, "above": 3, "zeckendorf": [2]},
        ),
        (
            "/index/832040",
            {"x": "832040", "indices": [30], "below": 29, "above": 31, "zeckendorf": [30]},
        ),
        ("/index/0", {"x": "0", "indices": [0], "below": None, "above": 1, "zeckendorf": []}),
        ("/index?digits=1000", {"digits": "1000", "index": "4782"}),
    ],
)
def test_single_numbers(web: Web, target: str, document: dict[str, object]) -> None:
    """Digits, remainders and indices are JSON documents, which never change."""
    result = web.simulate_get(target, headers={"Accept": "text/csv"})
    assert (result.status_code, result.json) == (200, document)
    assert result.headers["content-type"] == "application/json"
    assert result.headers["cache-control"] == IMMUTABLE
    tag = result.headers["etag"]
    for none_match in (tag, "*"):
        again = web.simulate_get(target, headers={"If-None-Match": none_match})
        assert (again.status_code, again.content) == (304, b"")
        assert dict(again.headers) == {"etag": tag, "cache-control": IMMUTABLE}
    problem(web.simulate_get(target, headers={"If-Match": '"x"'}), 412)


def test_tags_of_single_numbers(web: Web) -> None:
    """Different documents have different tags, equal ones the same, however they are asked for."""
    targets = ["/digits/10", "/digits/10?first=9", "/number/10?mod=10", "/index/10"]
    targets += [
        "/fib/10?digits=9",
        "/fib?count=10&digits=9",
        "/fib/10?digits=8",
        "/fib/9?digits=9",
    ]
    targets += ["/index?digits=10", "/digits/11", "/number/11?mod=10", "/number/10?mod=11"]
    tags = {web.simulate_get(target).headers["etag"] for target in targets}
    assert len(tags) == len(targets)
    for target in ("/digits/10?first=20&last=20", "/number/10?mod=10&format=csv&x=1"):
        assert web.simulate_get(target).headers["etag"] in tags


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/digits/-1", "n is '-1': give a whole number from 0 on, in digits only"),
        ("/digits/01", "n is '01': omit the leading zeros, e.g. /digits/1000"),
        ("/digits/%31", "n is percent-encoded in the path"),
        ("/digits/" + "9" * 1001, "n must be at least 0 and below 10^1000, not 9999"),
        ("/digits/" + "9" * 9000, "below 10^1000, not a number of more than 4200 digits"),
        ("/digits/5?first=1001", "first must be between 0 and 1000, not 1001"),
        ("/digits/5?last=x", "last is 'x': give a whole number from 0 on, in digits only"),
        ("/digits/5?last=1&last=1", "last is given more than once"),
        ("/number/5?mod", "mod is empty: give a whole number from 0 on"),
        ("/number/5?mod=0", "mod must be at least 1 and below 10^1000, not 0"),
        ("/number/5?mod=5&mod=5", "mod is given more than once"),
        ("/number/5?count=1&mod=x", "mod is 'x': give a whole number from 0 on, in digits only"),
        ("/number/5?mod=5&count=0", "count must be between 1 and 10000"),
        (
            "/number/100?count=10001",
            "between 1 and 10000 (more: format=text with a",
        ),
        ("/number/100?from=1&format=xml", "format must be one of json, text"),
        ("/number/5?mod=5&format=xml", "format must be one of json, text"),
        ("/fib/x?digits=5", "n is 'x': give a whole number from 0 on, in digits only"),
        (
            "/fib/%31?digits=5",
            "n is percent-encoded in the path",
        ),
        ("/fib/5?digits=", "digits is empty: give a whole number from 0 on"),
        ("/fib/5?digits=1001", "digits must be between 0 and 1000, not 1001"),
        (
            "/fib/1001?digits=5",
            "n must be between 0 and 1000 for 5 first and 5 last digits of each",
        ),
        ("/fib?start=5&digits=5", "count is missing"),
        ("/fib?count=5&digits=5&format=xml", "format must be one of json, text"),
        ("/fib?count=5&digts=5", "digts"),
        (
            "/fib?start=10000000&count=619&digits=45",
            "count must be between 0 and 618 for 45 first",
        ),
        (
            f"/fib?start={'9' * 1000}&count=2&digits=1",
            "the last index must be at least 0 and below",
        ),
        (
            f"/fib?start=1{'0' * 1000}&count=0&digits=1",
            "start must be at least 0 and below 10^1000",
        ),
        ("/index/ten", "x is 'ten': give a whole number from 0 on, in digits only"),
        ("/index/", "x is empty: give a whole number from 0 on"),
        ("/index/%31", "x is percent-encoded in the path"),
        ("/index/" + "9" * 4001, "x must be at least 0 and have at most 4000 digits"),
        ("/index", "digits is missing"),
        ("/index?digits=0", "digits must be at least 1"),
        ("/index?digits=" + "3" * 1000, "the number of digits must be at least 1"),
    ],
)
def test_bad_questions_about_single_numbers(web: Web, target: str, reason: str) -> None:
    """What is malformed or out of bounds is 400 with the bound."""
    assert reason in problem(web.simulate_get(target), 400)["detail"]


def test_expensive_documents_come_from_a_fibserver(server: RunningServer) -> None:
    """A document that would block the event loop is fetched; any other needs no fibserver."""
    wanted: list[FetchRequest] = []

    def would_block(fetch: FetchRequest) -> None:
        wanted.append(fetch)
        raise WouldBlock

    environ = {"fibweb.fetch": would_block}
    x = 10**4000 - 1
    with FibClient(server.address) as client:
        web = Web(create_app(client))
        with pytest.raises(WouldBlock):
            web.simulate_get(f"/index/{x}", extras=environ)
        with pytest.raises(WouldBlock):
            web.simulate_get("/fib/900?digits=20", extras=environ)
        assert [fetch.key for fetch in wanted] == [("index", x), ("first-digits", 0, 900, 20)]
        assert web.simulate_get("/fib/50?digits=60", extras=environ).status_code == 200
        found = web.simulate_get(f"/index/{x}").json
    assert found["below"] == position(x).below
    assert found["zeckendorf"] == list(zeckendorf(x))
    with FibClient("127.0.0.1:1", max_retries=0) as client:
        web = Web(create_app(client))
        for target in ("/digits/7", "/number/7?mod=7", "/index/7", "/index?digits=7"):
            assert web.simulate_get(target, extras=environ).status_code == 200
        problem(web.simulate_get(f"/index/{x}"), 503)
        # A client that has the document already needs no computation.
        tag = Computation(("index", x), 0, dict).tag
        result = web.simulate_get(f"/index/{x}", headers={"If-None-Match": tag})
        assert result.status_code == 304


def test_links(web: Web) -> None:
    """A range links to its neighbours, in the same format."""
    target, found = "/fib?count=3&format=text", ""
    for _ in range(3):
        result = web.simulate_get(target)
        found += result.text
        target = "/fib" + result.headers["link"].partition(">")[0].removeprefix("<")
    assert found.split() == digits(0, 9)
    assert "link" not in web.simulate_get("/fib/10").headers
    assert "link" not in web.simulate_get("/fib?count=0").headers
    part = web.simulate_get("/fib?start=1&count=5", headers={"Range": "bytes=0-1"})
    assert part.headers["link"] == (
        '<?start=6&count=5>; rel="next", <?start=0&count=1>; rel="prev"'
    )


# Formats


@pytest.mark.parametrize("format", ["text", "csv", "ndjson", "bfile", "binary"])
@pytest.mark.parametrize(
    ("path", "start", "stop"),
    [
        ("/fib/0?", 0, 0),
        ("/fib/500?", 0, 500),
        ("/fib?start=9&count=5&", 9, 14),
        ("/number/9?", 9, 10),
    ],
)
def test_body_is_elements_of_format(
    web: Web, format: str, path: str, start: int, stop: int
) -> None:
    """In each format except JSON, the body is the elements and nothing else."""
    result = web.simulate_get(f"{path}format={format}")
    assert result.status_code == 200
    assert result.headers["content-type"] == TYPES[format]
    assert result.content == expected(format, start, stop)


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("application/json", "json"),
        ("text/plain", "text"),
        ("text/csv", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/octet-stream", "binary"),
        ("*/*", "json"),
        ("", "json"),
        ("text/csv;q=0.5, text/plain", "text"),
    ],
)
def test_accept_selects_format(web: Web, accept: str, format: str) -> None:
    """Accept selects the format, and Vary names it."""
    result = web.simulate_get("/fib/10", headers={"Accept": accept})
    assert result.headers["content-type"] == TYPES[format]
    assert result.headers["vary"] == "Accept"


def test_format_parameter_overrides_accept(web: Web) -> None:
    """`?format=` overrides Accept, even one without an acceptable format."""
    result = web.simulate_get("/fib/3?format=text", headers={"Accept": "image/png"})
    assert (result.status_code, result.text) == (200, "0\n1\n1\n")


def test_no_acceptable_format_is_406(web: Web) -> None:
    """If no format is acceptable, the response is 406 with the available ones."""
    said = problem(web.simulate_get("/fib/10", headers={"Accept": "image/png"}), 406)
    assert said["detail"].startswith("Accept is 'image/png', but the formats are application/json")
    assert "text/csv, " in said["detail"]
    assert said["available"] == [
        {"format": name, "media_type": media_type} for name, media_type in TYPES.items()
    ]


@pytest.mark.parametrize("format", ["xml", "", "JSON", "array", "json,csv", "%6Asonx"])
def test_unknown_format_is_400(web: Web, format: str) -> None:
    """An unknown format is 400 with the available ones; `array` is for Redis clients only."""
    said = problem(web.simulate_get(f"/fib/10?format={format}"), 400)
    names = "json, text, csv, ndjson, bfile, binary"
    assert said["detail"] == f"format must be one of {names}, not {format!r}"
    assert [available["format"] for available in said["available"]] == list(TYPES)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/fib/100", "fibonacci-0-100.json"),
        ("/fib/100?format=csv", "fibonacci-0-100.csv"),
        ("/fib?start=5&count=3&format=text", "fibonacci-5-8.txt"),
        ("/number/7?format=ndjson", "fibonacci-7.ndjson"),
        ("/fib/100?format=bfile", "fibonacci-0-100.b.txt"),
        ("/fib/100?format=binary", "fibonacci-0-100.bin"),
    ],
)
def test_responses_have_file_names(web: Web, target: str, name: str) -> None:
    """Each response has a file name; with `?download` it is an attachment."""
    result = web.simulate_get(target)
    assert result.headers["content-disposition"] == f'inline; filename="{name}"'
    mark = "&" if "?" in target else "?"
    for download in ("download", "download=", "download=1"):
        result = web.simulate_get(f"{target}{mark}{download}")
        assert result.headers["content-disposition"] == f'attachment; filename="{name}"'


# What is wrong


@pytest.mark.parametrize(
    "n", ["-1", "+1", "01", "00", "1.0", "0x10", "ten", "", "10/", "1/2", "1_0", "٣", " 1", "1 "]
)
@pytest.mark.parametrize("path", ["/fib", "/number"])
def test_invalid_n_is_400(web: Web, path: str, n: str) -> None:
    """An n that is not a plain decimal number is 400."""
    said = problem(web.simulate_get(f"{path}/{n}"), 400)
    found = repr(n) if n else "empty"
    assert said["detail"].startswith(f"n is {found}: ")
    assert said["detail"].endswith(
        {"/fib": ", e.g. /fib/10", "/number": ", e.g. /number/100"}[path]
    )


@pytest.mark.parametrize("path", ["/fib/%31%30", "/number/1%30", "/f%69b/10"])
def test_percent_encoded_digits_are_400(web: Web, path: str) -> None:
    """Percent-encoded digits are 400, so that each number has one URL."""
    assert "percent-encoded" in problem(web.simulate_get(path), 400)["detail"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "count is missing"),
        (
            "start=5",
            "count is missing: give how many numbers to return, e.g. /fib?start=0&count=10",
        ),
        ("n=7", "give count, or put n into the path, e.g. /fib/7"),
        ("count", "count is empty: give a whole number from 0 on"),
        ("count=", "count is empty: give a whole number from 0 on"),
        ("count=-1", "count is '-1'"),
        ("count=+1", "count is '+1'"),
        ("count=01", "count is '01': omit the leading zeros"),
        ("count=%31", "count is '%31'"),
        ("count=1,000", "count is '1,000'"),
        ("count=1&start=x", "start is 'x': give a whole number from 0 on, in digits only"),
        ("count=1&start=", "start is empty"),
        ("count=1&count=1", "count is given more than once"),
        ("count=1&start=1&start=2", "start is given more than once"),
        ("count=1&format=csv&format=csv", "format is given more than once"),
        ("count=1&download&download", "download is given more than once"),
        ("count=" + "9" * 1000, "count has 1000 digits"),
        ("count=1&start=" + "9" * 1000, "start has 1000 digits"),
        ("start=9999999&count=9999999", "max_index is 10000000"),
    ],
)
def test_invalid_range_parameters_are_400(web: Web, query: str, reason: str) -> None:
    """start and count are parsed as strictly as n, and parameters must not be repeated."""
    assert reason in problem(web.simulate_get("/fib", query_string=query), 400)["detail"]


def test_unknown_parameters_are_ignored(web: Web) -> None:
    """Unknown parameters are ignored, even if repeated."""
    result = web.simulate_get("/fib/3?count=x&start=&start=&utm_source=a&_=%FF&FORMAT=text")
    assert result.json == {"N": 3, "result": ["0", "1", "1"]}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/fib/99999999", "max_index is 10000000"),
        ("/fib/10000000", "max_answer_bytes is 2.1 GB (2147483648 bytes)"),
        ("/fib/" + "9" * 19, "max_index is 10000000"),
        ("/fib/" + "9" * 20, "n has 20 digits"),
        ("/fib/" + "9" * 1000, "n has 1000 digits"),
        ("/number/10000001", "max_index is 10000000"),
        ("/number/" + "9" * 1000, "n has 1000 digits"),
    ],
)
@pytest.mark.parametrize("bytes_wanted", [None, "bytes=0-9", "bytes=-9", "bytes=99999999999999-"])
def test_request_beyond_limit_is_400(
    web: Web, target: str, reason: str, bytes_wanted: str | None
) -> None:
    """A request beyond a limit is 400 with the limit, and so is a range of it."""
    headers = {"Range": bytes_wanted} if bytes_wanted else {}
    assert reason in problem(web.simulate_get(target, headers=headers), 400)["detail"]


@pytest.mark.parametrize(
    ("target", "members"),
    [
        (
            "/fib/1000000",
            {
                "setting": "max_answer_bytes",
                "limit": 2**31,
                "size": FORMATS["json"].slice_size(0, 1_000_000),
                "largest_n": 143_342,
            },
        ),
        (
            "/fib?start=9999990&count=100&format=text",
            {"setting": "max_index", "limit": 10**7, "size": 10_000_089, "largest_n": 11},
        ),
        (
            "/number/10000001",
            {"setting": "max_index", "limit": 10**7, "size": 10_000_001, "largest_n": 0},
        ),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}])
def test_members_of_too_large(
    web: Web, target: str, members: dict[str, object], headers: dict[str, str]
) -> None:
    """The error for a response that is too large has what programs need to ask for less."""
    said = problem(web.simulate_get(target, headers=headers), 400)
    assert said["type"] == "/problems/too-large"
    assert {name: said[name] for name in members} == members
    last = said["size"] if said["setting"] == "max_index" else 999_999
    assert f"/digits/{last}" in said["detail"]
    if count := members["largest_n"]:
        assert f" {count} " in said["detail"]


@pytest.mark.parametrize("target", [f"/fib/{'9' * 20}", f"/fib?count=1&start={'9' * 1000}"])
def test_beyond_all_limits(web: Web, target: str) -> None:
    """An index that no fibserver accepts is too large as well, and needs none to be rejected."""
    said = problem(web.simulate_get(target), 400)
    assert said["type"] == "/problems/too-large"
    assert "/digits/{n}" in said["detail"]


def test_largest_n_is_answered(serve: Callable[..., RunningServer]) -> None:
    """What the error allows is answered, and one more is not, also where it is fetched whole."""
    server = serve(FIBSERVER_MAX_INDEX="50", FIBSERVER_MAX_ANSWER_BYTES="200")
    # A cache would answer what it has, and let a fibserver check only the rest.
    with FibClient(server.address, cache_bytes=0) as client:
        web = Web(create_app(client))
        found = web.simulate_get("/limits").json
        assert (found["max_index"], found["max_answer_bytes"]) == (50, 200)
        for format, count in found["largest_n"].items():
            assert web.simulate_get(f"/fib/{count}?format={format}").status_code == 200
            said = problem(web.simulate_get(f"/fib/{count + 1}?format={format}"), 400)
            assert (said["setting"], said["largest_n"]) == ("max_answer_bytes", count)
        # Links end at max_index.
        links = [
            web.simulate_get(f"/fib?start={start}&count=4").headers["link"]
            for start in (41, 45, 47)
        ]
        assert links[0].startswith('<?start=45&count=4>; rel="next"')
        assert links[1].startswith('<?start=49&count=2>; rel="next"')
        assert links[2] == '<?start=43&count=4>; rel="prev"'
        said = problem(web.simulate_get("/fib?start=40&count=60&format=text"), 400)
        assert (said["setting"], said["largest_n"]) == ("max_index", 11)


@pytest.mark.parametrize(
    ("target", "kind", "members"),
    [
        ("/fib/5?formt=csv", "unknown-parameter", {"parameter": "formt", "suggestion": "format"}),
        ("/fib?cuont=5", "unknown-parameter", {"parameter": "cuont", "suggestion": "count"}),
        ("/digits/5?frist=5", "unknown-parameter", {"parameter": "frist", "suggestion": "first"}),
        ("/digits/5?last=1001", "out-of-bounds", {"parameter": "last"}),
        ("/index?digits=0", "out-of-bounds", {"parameter": "digits"}),
        ("/number/5?mod=0", "out-of-bounds", {"parameter": "mod"}),
    ],
)
def test_types_of_problems(web: Web, target: str, kind: str, members: dict[str, object]) -> None:
    """Errors that the status does not tell apart have types, which a page explains."""
    said = problem(web.simulate_get(target), 400)
    assert said["type"] == f"/problems/{kind}"
    assert said.items() >= members.items()
    page = web.simulate_get(said["type"])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{said['title']}</h1>" in page.text
    assert all(name in page.text for name in members)
    below = web.simulate_get(target, root_path="/f").json
    assert below["type"] == f"/f/problems/{kind}"


def test_unknown_problem_page_is_404(web: Web) -> None:
    """There are pages only about the types in use."""
    problem(web.simulate_get("/problems/other"), 404)


def test_limits(web: Web) -> None:
    """`/limits` has the limits, and the largest N in each format; caches must revalidate it."""
    result = web.simulate_get("/limits")
    assert result.headers["cache-control"] == "no-cache"
    assert result.json["max_index"] == 10_000_000
    assert result.json["max_answer_bytes"] == 2**31
    assert list(result.json["largest_n"]) == list(TYPES)
    assert result.json["largest_n"]["json"] == 143_342


def test_limits_without_a_fibserver() -> None:
    """Without a fibserver the limits are unknown: 503."""
    with FibClient("127.0.0.1:1", max_retries=0) as client:
        problem(Web(create_app(client)).simulate_get("/limits"), 503)


def test_unknown_path_is_404(web: Web) -> None:
    """Any other path is 404."""
    for path in ("/nothing", "/fib/10/../x", "/number", "/openapi.json/", "/Fib/10", "/é"):
        said = problem(web.simulate_get(path), 404 if not path.startswith("/fib/") else 400)
        assert said["instance"]


def test_unknown_path_has_a_remedy(web: Web) -> None:
    """The detail quotes the path, of a long one the beginning, and names paths that exist."""
    said = problem(web.simulate_get(f"/nothing/{'x' * 1000}"), 404)
    assert said["detail"].startswith(f"the path '/nothing/{'x' * 55}' does not exist: ")
    assert "/fib/10" in said["detail"]
    assert "/openapi.json" in said["detail"]


@pytest.mark.parametrize(
    ("path", "example"),
    [("/fib/x", "e.g. /at/fib/10"), ("/fib?n=7", "e.g. /at/fib/7"), ("/x", "'/at/x' does not")],
)
def test_examples_have_the_prefix(web: Web, path: str, example: str) -> None:
    """Addresses in details have the prefix below which the application is mounted."""
    result = web.simulate_get(path, extras={"SCRIPT_NAME": "/at"})
    assert example in result.json["detail"]


def test_error_has_path_and_request_id(web: Web) -> None:
    """An error has the path and the request id, which is new if the request has none."""
    said = problem(web.simulate_get("/fib/a b<é>?x=1"), 400)
    assert said["instance"] == "/fib/a%20b%3C%C3%A9%3E"
    other = problem(web.simulate_get("/fib/x"), 400)
    assert other["request_id"] != said["request_id"]
    environ = {"fibweb.request_id": "abc"}
    assert problem(web.simulate_get("/fib/x", extras=environ), 400)["request_id"] == "abc"


# Methods


@pytest.mark.parametrize(
    "path",
    [
        "/fib/10",
        "/fib?count=1",
        "/number/10",
        "/digits/10",
        "/index/10",
        "/index",
        "/openapi.json",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_unsupported_method_is_405(web: Web, path: str, method: str) -> None:
    """A method that is not supported is 405 with the supported ones."""
    result = web.simulate_request(method, path)
    said = problem(result, 405)
    assert said["detail"] == (
        f"the path {path.partition('?')[0]!r} does not support the method {method!r}: "
        f"use one of {result.headers['allow']}"
    )
    assert result.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["CONNECT", "QUERY", "BREW"])
def test_unknown_method_is_405(client: FibClient, method: str) -> None:
    """An unknown method is 405 as well."""
    environ = testing.create_environ("/fib/10")
    environ["REQUEST_METHOD"] = method
    seen = testing.StartResponseMock()
    create_app(client)(environ, seen)
    assert seen.status == "405 Method Not Allowed"


@pytest.mark.parametrize(
    "path", ["/fib/10", "/fib", "/number/10", "/digits/10", "/index/10", "/index", "/openapi.json"]
)
def test_options_lists_methods(web: Web, path: str) -> None:
    """OPTIONS lists the methods, without CORS headers."""
    result = web.simulate_options(path, headers={"Origin": "https://example.org"})
    assert (result.status_code, result.content) == (204, b"")
    assert result.headers["allow"] == "GET, HEAD, OPTIONS"
    assert not [name for name in result.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("GET", 404), ("POST", 404)])
def test_options_of_server(client: FibClient, method: str, status: int) -> None:
    """`OPTIONS *` lists the methods of the server; no other method has that target."""
    environ = {**testing.create_environ("/", method=method), "PATH_INFO": "*"}
    seen = testing.StartResponseMock()
    create_app(client)(environ, seen)
    assert str(seen.status)[:3] == str(status)
    assert seen.headers_dict.get("allow") == ("GET, HEAD, OPTIONS" if status == 204 else None)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/fib/10", {}),
        ("/fib/10?format=csv&download", {}),
        ("/fib/3000", {}),
        ("/fib?start=3&count=0&format=text", {}),
        ("/number/100000", {}),
        ("/number/100000?mod=10", {}),
        ("/digits/100000", {}),
        ("/index/100000", {}),
        ("/index", {}),
        ("/fib/10", {"If-None-Match": '"first-10-json-1"'}),
        ("/fib/10", {"Accept": "image/png"}),
        ("/fib/10", {"If-Match": '"x"'}),
        ("/fib/x", {}),
        ("/fib/10000000", {}),
        ("/nothing", {}),
        ("/openapi.json", {}),
    ],
)
def test_head_has_headers_of_get(web: Web, target: str, headers: dict[str, str]) -> None:
    """HEAD has the status and headers of GET, errors included, without the body."""
    environ = {"fibweb.request_id": "same"}
    get = web.simulate_get(target, headers=headers, extras=environ)
    head = web.simulate_head(target, headers=headers, extras=environ)
    assert head.content == b""
    assert (head.status, head.headers) == (get.status, get.headers)
    if get.status_code != 304:
        assert int(head.headers["content-length"]) == len(get.content) > 0 or "count=0" in target


@pytest.mark.parametrize(
    ("target", "size", "beyond"),
    [
        ("/fib?start=9999981&count=20", 41_798_000, "/fib?start=9999982&count=20"),
        ("/number/10000000", 2_089_900, "/number/10000001"),
        ("/number/10000000?format=binary", 867_800, "/number/10000001?format=binary"),
        ("/fib?start=300000&count=2", 125_000, "/fib?start=10000000&count=2"),
    ],
)
def test_head_of_giants_computes_nothing(
    server: RunningServer, target: str, size: int, beyond: str
) -> None:
    """HEAD of a large response only checks the limits: its size is known without the numbers."""
    wanted: list[FetchRequest] = []

    def recorded(fetch: FetchRequest) -> object:
        wanted.append(fetch)
        return run_now(fetch)

    with FibClient(server.address) as client:
        web = Web(create_app(client))
        environ = {"fibweb.fetch": recorded}
        result = web.simulate_head(target, extras=environ)
        assert (result.status_code, result.content) == (200, b"")
        assert int(result.headers["content-length"]) == pytest.approx(size, rel=0.01)
        assert web.simulate_head(beyond, extras=environ).status_code == 400
    assert [fetch.key for fetch in wanted] == ["limits"]


# Caching


def test_different_bytes_have_different_tags(web: Web) -> None:
    """Different bytes have different strong tags, equal bytes the same; all are immutable."""
    targets = ["/fib/10", "/fib/11", "/number/10", "/fib?count=10", "/fib?start=1&count=10"]
    found: list[str] = []
    for target in targets:
        for format in TYPES:
            mark = "&" if "?" in target else "?"
            results = [web.simulate_get(f"{target}{mark}format={format}{x}") for x in ("", "&x=1")]
            for result in results:
                assert result.headers["cache-control"] == IMMUTABLE
                assert result.headers["vary"] == "Accept"
                assert result.headers["accept-ranges"] == "bytes"
            tags = {result.headers["etag"] for result in results}
            assert len(tags) == 1
            found += tags
    assert len(set(found)) == len(targets) * len(TYPES)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in found)


@pytest.mark.parametrize("matching", ["{}", "W/{}", '"x", {}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_matching_tag_gets_304(web: Web, method: str, matching: str) -> None:
    """A matching If-None-Match gets 304 with the cache headers and no body."""
    tag = web.simulate_get("/fib/10").headers["etag"]
    headers = {"If-None-Match": matching.format(tag), "Range": "bytes=0-9"}
    result = web.simulate_request(method, "/fib/10", headers=headers)
    assert (result.status_code, result.content) == (304, b"")
    assert dict(result.headers) == {"etag": tag, "cache-control": IMMUTABLE, "vary": "Accept"}


def test_tag_of_other_bytes_does_not_match(web: Web) -> None:
    """The tag of another format or number does not match."""
    tags = [web.simulate_get(f"/fib/{x}").headers["etag"] for x in ("10?format=csv", "11")]
    result = web.simulate_get("/fib/10", headers={"If-None-Match": ", ".join(tags)})
    assert result.status_code == 200


def test_star_matches_any_success(web: Web) -> None:
    """`If-None-Match: *` matches any response except an error."""
    problem(web.simulate_get("/fib/10000000", headers={"If-None-Match": "*"}), 400)


@pytest.mark.parametrize(
    ("if_match", "status"), [("{}", 200), ("*", 200), ("W/{}", 412), ('"x"', 412)]
)
def test_if_match_requires_same_tag(web: Web, if_match: str, status: int) -> None:
    """If-Match requires the same tag, or the response is 412."""
    tag = web.simulate_get("/fib/10").headers["etag"]
    result = web.simulate_get("/fib/10", headers={"If-Match": if_match.format(tag)})
    assert result.status_code == status
    if status == 412:
        assert tag in problem(result, 412)["detail"]


def test_if_match_precedes_if_none_match(web: Web) -> None:
    """If-Match takes precedence over If-None-Match (RFC 9110)."""
    tag = web.simulate_get("/fib/10").headers["etag"]
    for if_match, status in ((tag, 304), ("*", 304), ('"x"', 412)):
        headers = {"If-Match": if_match, "If-None-Match": tag}
        assert web.simulate_get("/fib/10", headers=headers).status_code == status


# Parts


@pytest.mark.parametrize("target", ["/fib/10", "/fib/3000", "/number/1000?format=text"])
@pytest.mark.parametrize("bytes_wanted", [(0, 1), (0, 9), (5, 100), (15, 16), (-30, -1), (0, -1)])
def test_byte_range_gets_206(web: Web, target: str, bytes_wanted: tuple[int, int]) -> None:
    """A range gets 206 with its bytes and Content-Range."""
    whole = web.simulate_get(target)
    size = len(whole.content)
    first, last = (number % size for number in bytes_wanted)
    result = web.simulate_get(target, headers={"Range": f"bytes={first}-{last}"})
    assert result.status_code == 206
    last = min(last, size - 1)
    assert result.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert result.content == whole.content[first : last + 1]
    for name in whole.headers.keys() - {"content-length"}:
        assert result.headers[name] == whole.headers[name]


@pytest.mark.parametrize("bytes_wanted", ["bytes=10-", "bytes=-10"])
def test_open_byte_ranges(web: Web, bytes_wanted: str) -> None:
    """A range may extend to the end, or be counted from the end."""
    whole = web.simulate_get("/fib/10").content
    begin = int(bytes_wanted.removeprefix("bytes=").rstrip("-"))
    result = web.simulate_get("/fib/10", headers={"Range": bytes_wanted})
    assert (result.status_code, result.content) == (206, whole[begin:])


def test_byte_range_after_end_is_416(web: Web) -> None:
    """A range after the end is 416 with the size."""
    size = len(web.simulate_get("/fib/10").content)
    result = web.simulate_get("/fib/10", headers={"Range": f"bytes={size}-"})
    assert str(size) in problem(result, 416)["detail"]
    assert result.headers["content-range"] == f"bytes */{size}"
    assert "etag" not in result.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-0,5-6"},
        {"Range": "bytes=x"},
        {"Range": "lines=0-1"},
        {"Range": "bytes=0-1", "If-Range": '"x"'},
        {"Range": "bytes=0-1", "If-Range": 'W/"first-10-json-1"'},
        {"Range": "bytes=0-1", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"Range": "bytes=9999-", "If-Range": '"x"'},
    ],
)
def test_unusable_ranges_get_whole_response(web: Web, headers: dict[str, str]) -> None:
    """Several ranges, invalid ones, and those with another If-Range tag get the whole response."""
    result = web.simulate_get("/fib/10", headers=headers)
    assert (result.status_code, result.json["N"]) == (200, 10)
    assert "content-range" not in result.headers


def test_if_range_with_same_tag_allows_206(web: Web) -> None:
    """If-Range with the same tag allows a partial response."""
    tag = web.simulate_get("/fib/10").headers["etag"]
    result = web.simulate_get("/fib/10", headers={"Range": "bytes=2-2", "If-Range": tag})
    assert (result.status_code, result.content) == (206, b"N")


def test_range_is_ignored_for_head(web: Web) -> None:
    """Range is ignored for HEAD (RFC 9110, 14.2)."""
    result = web.simulate_head("/fib/10", headers={"Range": "bytes=0-1"})
    assert result.status_code == 200
    assert "content-range" not in result.headers


def test_range_is_ignored_for_empty_response(web: Web) -> None:
    """Range is ignored for an empty response."""
    result = web.simulate_get("/fib/0?format=text", headers={"Range": "bytes=0-"})
    assert (result.status_code, result.content) == (200, b"")


# Waiting, and what fails


def test_application_does_not_block(server: RunningServer) -> None:
    """Without blocking, the application returns only bytes from memory."""
    with FibClient(server.address) as client:
        web = Web(create_app(client))
        wanted: list[FetchRequest] = []

        def would_block(fetch: FetchRequest) -> None:
            wanted.append(fetch)
            raise WouldBlock

        environ = {"fibweb.fetch": would_block}
        for target in ("/fib/9", "/fib/20000", "/number/900000", "/fib?start=5&count=5"):
            with pytest.raises(WouldBlock):
                web.simulate_get(target, extras=environ)
        keys = [fetch.key for fetch in wanted]
        assert keys == [("json", 0, 9), "limits", ("json", 900_000, 900_001), ("json", 5, 10)]
        web.simulate_get("/fib/9")
        web = Web(create_app(client))  # it has not read the limits yet
        with pytest.raises(WouldBlock):  # the range is cached, but the limits are unknown
            web.simulate_get("/fib/10000000", extras=environ, headers={"Range": "bytes=0-1"})
        for target in ("/fib/9", "/fib/0", "/number/8", "/fib?start=5&count=4"):
            assert web.simulate_get(target, extras=environ).status_code == 200
        headers = {"If-None-Match": '"number-900000-json-1"'}
        result = web.simulate_get("/number/900000", extras=environ, headers=headers)
        assert result.status_code == 304
        problem(web.simulate_get("/fib/x", extras=environ), 400)


@pytest.mark.parametrize(("accept", "status"), [("a/b," * 255 + "*/*", 200), ("a/b," * 257, 431)])
def test_too_long_accept_is_431(web: Web, accept: str, status: int) -> None:
    """The length of Accept is limited, because parsing takes time; the error has the limit."""
    result = web.simulate_get("/fib/10", headers={"Accept": accept})
    assert result.status_code == status
    if status == 431:
        assert "1024" in problem(result, 431)["detail"]


def test_unreachable_fibserver_is_503() -> None:
    """Without a fibserver the response is 503 with Retry-After; an empty slice needs none."""
    with FibClient("127.0.0.1:1", max_retries=0) as client:
        web = Web(create_app(client))
        result = web.simulate_get("/fib/10")
        empty = web.simulate_get("/fib/0")
    assert result.headers["retry-after"] == "1"
    detail = problem(result, 503)["detail"]
    assert detail.startswith("fibserver is unavailable: none can be reached; try again later")
    assert "127.0.0.1" not in detail, "addresses are not published"
    assert empty.json == {"N": 0, "result": []}


def test_closed_client_is_503(server: RunningServer) -> None:
    """During the shutdown the response is 503."""
    client = FibClient(server.address)
    client.close()
    problem(Web(create_app(client)).simulate_get("/fib/10"), 503)


def answered_by(reply: bytes | None) -> testing.Result:
    """Return the response if the fibserver sends the same reply to all commands."""
    with (
        fake_server(in_turn(reply)) as server,
        FibClient(server.address, max_retries=0, timeout_seconds=2, max_connections=1) as client,
    ):
        return Web(create_app(client)).simulate_get("/fib/10")


@pytest.mark.parametrize(
    "error", ["BUSY no", "NOSPACE no", "SHUTDOWN no", "ERR max number of clients reached"]
)
def test_overloaded_fibserver_is_503(error: str) -> None:
    """A temporary error of the fibserver is 503 with Retry-After."""
    result = answered_by(b"-%b\r\n" % error.encode())
    assert result.headers["retry-after"] == "1"
    assert error in problem(result, 503)["detail"]


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"-ERR unknown\r\n", b"-NOAUTH no\r\n", b"\r\n"])
def test_invalid_reply_is_502(reply: bytes) -> None:
    """An invalid reply or an authentication error is 502."""
    problem(answered_by(reply), 502)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("NOAUTH Authentication required.", " Set password_file of fibweb"),
        ("WRONGPASS invalid username-password pair", "; compare the password_file of fibweb"),
        ("ERR unknown command 'FIB.FIRST'", "; check that the setting servers"),
    ],
)
def test_rejection_has_a_remedy(error: str, remedy: str, caplog: pytest.LogCaptureFixture) -> None:
    """The response and the log have a remedy for a rejection by fibserver."""
    result = answered_by(b"-%b\r\n" % error.encode())
    assert f"{error}{remedy}" in problem(result, 502)["detail"]
    assert f"{error}{remedy}" in caplog.text


def test_silent_fibserver_is_503() -> None:
    """A fibserver that does not reply in time is 503."""
    assert answered_by(None).headers["retry-after"] == "1"


class _Broken:
    """A resource that raises an exception."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise ZeroDivisionError


class _Greeting:
    """A resource that works."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = "hello"


def test_exception_is_500_with_request_id(
    client: FibClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception is 500 with the request id; the log has the id and the cause."""
    web = Web(create_app(client, resources={"/broken": _Broken()}))
    result = web.simulate_get("/broken")
    assert problem(result, 500)["request_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" not in result.text


def test_additional_resources_have_standard_methods(client: FibClient) -> None:
    """Additional resources have HEAD, OPTIONS and 405 like the others."""
    web = Web(create_app(client, resources={"/greeting": _Greeting(), "/": _Greeting()}))
    assert web.simulate_get("/").text == "hello"
    head = web.simulate_head("/greeting")
    assert (head.content, head.headers["content-length"]) == (b"", "5")
    assert web.simulate_options("/greeting").headers["allow"] == "GET, HEAD, OPTIONS"
    problem(web.simulate_delete("/greeting"), 405)


def test_all_parameters_are_known() -> None:
    """`PARAMETERS` has the names of all query parameters that the description has."""
    description = json.dumps([OPERATIONS, COMPONENTS["parameters"]])
    names = set(re.findall(r'"name": "([a-z]+)", "in": "query"', description))
    assert names == PARAMETERS


@pytest.mark.parametrize("value", ["1", "format=csv", "*", "0" * 100])
@pytest.mark.parametrize(
    "target",
    [
        *(
            "/fib/10?",
            "/fib?start=1&count=3&",
            "/fib/10?digits=1&",
            "/number/7?",
            "/number/7?mod=3&",
        ),
        *("/number/99?from=1&count=3&", "/digits/100?first=3&", "/index/55?", "/index?digits=3&"),
        *("/fib/10?format=csv&", "/fib/10?download&", "/limits?", "/fib/x?", "/fib?start=1&"),
    ],
)
def test_other_parameters_do_not_matter(web: Web, target: str, value: str) -> None:
    """The value of a parameter that no resource reads changes nothing of a response."""
    results = [web.simulate_get(f"{target}utm={text}") for text in ("0", value)]
    for result in results:
        result.headers.pop("x-request-id", None)
    assert results[0].headers == results[1].headers
    assert results[0].status == results[1].status
    if results[0].status_code == 200:  # errors have a request id
        assert results[0].content == results[1].content
