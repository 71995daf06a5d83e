"""Tests for error responses: HTML for browsers, problem details for programs."""

import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import falcon
import pytest
from falcon import testing

from fibclient import FibClient
from fibcommon.http.problem_details import problem_members
from fibweb import create_app
from fibweb.app import create_metrics_app
from fibweb.resources.problem_html import problem_html
from tests.support.servers import RunningServer

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def web(server: RunningServer) -> Iterator[testing.TestClient]:
    """The application with a fibserver."""
    with FibClient(server.address) as client:
        yield testing.TestClient(create_app(client, resources={"/broken": Broken()}))


class Broken:
    """A resource with a bug."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise ZeroDivisionError


class Links(HTMLParser):
    """Collects the targets of the links of a document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs)["href"] or "")


def links(result: Any, url: str) -> list[str]:
    """Return the addresses that a page at a URL links to."""
    return [urljoin(url, href) for href in Links(result.text).found]


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/json",
        PROBLEM,
        "application/json, text/html;q=0.9",
        "text/csv",
        "image/avif,image/webp,*/*;q=0.8",
        "text/html" + ";a=b" * 300,
    ],
)
def test_programs_get_problem_details(web: testing.TestClient, accept: str | None) -> None:
    """Clients that do not prefer HTML get JSON, also if they accept neither."""
    for target, status in (("/nothing", 404), ("/fib/x?format=text", 400)):
        result = web.simulate_get(target, headers={"Accept": accept} if accept else {})
        assert result.status_code == status
        assert result.headers["content-type"] == PROBLEM
        assert result.headers["vary"] == "Accept, Accept-Encoding"
        assert result.json["status"] == status


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/html, */*", "text/html;q=0.5"])
def test_browsers_get_html(web: testing.TestClient, accept: str) -> None:
    """Clients that prefer HTML get a page with the status and headers of the problem."""
    result = web.simulate_get("/nothing", headers={"Accept": accept})
    assert (result.status_code, result.headers["vary"]) == (404, "Accept, Accept-Encoding")
    assert result.headers["content-type"] == "text/html; charset=utf-8"
    assert result.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in result.headers["content-security-policy"]
    assert result.headers["x-request-id"] in result.text


@pytest.mark.parametrize(
    ("method", "target", "headers", "text"),
    [
        ("GET", "/fib/x", {}, "Change the address"),
        ("GET", "/fib/10?formt=csv", {}, "Unknown parameter"),
        ("GET", "/nothing", {}, "typing error"),
        ("POST", "/fib/10", {}, "use GET or HEAD"),
        ("GET", "/fib/10", {"Accept": "text/html"}, "json, text, csv, ndjson, bfile, binary"),
        ("GET", "/fib/10", {"If-Match": '"x"'}, "Leave If-Match out"),
        ("GET", "/fib/10", {"Range": "bytes=999-"}, "leave Range out"),
        ("GET", "/broken", {}, "report the request id"),
    ],
)
def test_error_pages_tell_what_to_do(
    web: testing.TestClient, method: str, target: str, headers: dict[str, str], text: str
) -> None:
    """Each error page has the problem, what to do, and links to the page and the reference."""
    page = web.simulate_request(method, target, headers={"Accept": BROWSER, **headers})
    other = "image/png" if headers.get("Accept") else "application/json"
    problem = web.simulate_request(method, target, headers={**headers, "Accept": other})
    assert page.status_code == problem.status_code
    assert problem.json["title"] in page.text
    assert text in page.text
    for name in ("allow", "retry-after", "content-range"):
        assert page.headers.get(name) == problem.headers.get(name)
    found = links(page, f"http://fib.example{target}")
    assert {"http://fib.example/", "http://fib.example/docs"} <= set(found)


def test_unavailable_page() -> None:
    """Without a fibserver, the page has the time of the next try."""
    with FibClient("127.0.0.1:1", max_retries=0) as client:
        web = testing.TestClient(create_app(client))
        result = web.simulate_get(
            "/number/5", headers={"Accept": BROWSER.replace("*/*", "text/*")}
        )
        result = web.simulate_get("/limits", headers={"Accept": BROWSER})
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert "Try it again in a second." in result.text


@pytest.mark.parametrize(
    ("target", "link"),
    [
        ("/fib/10/", "/fib/10"),
        ("/fibs/10", "/fib/10"),
        ("/number", "/number/100"),
        ("/Fib/10", "/fib/10"),
        ("/fib/ten", "/fib/10"),
        ("/fib?N=10", "/fib/10"),
        ("/fib/10?formt=csv", "/fib/10?format=csv"),
        ("/fib/%31%30", "/fib/10"),
        ("/docs/", "/docs"),
        ("/robot.txt", "/robots.txt"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/f"])
def test_slips_link_the_right_address(
    web: testing.TestClient, target: str, link: str, prefix: str
) -> None:
    """After a slip, problem and page link an address that is answered."""
    options: dict[str, Any] = {"root_path": prefix, "extras": {"RAW_URI": prefix + target}}
    problem = web.simulate_get(target, **options)
    assert problem.status_code in (400, 404)
    assert problem.json["link"] == prefix + link
    page = web.simulate_get(target, headers={"Accept": BROWSER}, **options)
    assert page.status_code == problem.status_code
    url = f"http://fib.example{prefix}"
    assert f"{url}{link}" in links(page, url + target)
    assert f"Try {link}" in page.text
    assert web.simulate_get(link).status_code == 200


@pytest.mark.parametrize("target", ["//fib/10", "///docs", "//"])
def test_two_slashes_are_404(web: testing.TestClient, target: str) -> None:
    """Each response has one URL, with one slash at its beginning, whatever servers remove."""
    for path, extras in ((target, {}), ("/" + target.strip("/"), {"RAW_URI": target})):
        result = web.simulate_get(path, extras=extras)
        assert (result.status_code, result.json["instance"]) == (404, target)
    link = web.simulate_get(target).json.get("link")
    assert link == {"//fib/10": "/fib/10", "///docs": "/docs"}.get(target)


def test_links_below_a_prefix_that_a_proxy_removes(web: testing.TestClient) -> None:
    """The links of a page are right if only the browser knows the prefix."""
    page = web.simulate_get("/fib/10/", headers={"Accept": BROWSER})
    found = links(page, "http://fib.example/f/fib/10/")
    assert {link.removeprefix("http://fib.example") for link in found} == {
        *("/f/", "/f/fib/10", "/f/docs")
    }


@pytest.mark.parametrize(
    "target", ["/fib/10?x", "/digits/5?last=1001", "/number/10000001", "/fib/10000000", "/nothing"]
)
def test_no_link_without_a_slip(web: testing.TestClient, target: str) -> None:
    """Other errors have no link."""
    assert "link" not in web.simulate_get(target).json


def test_details_link_addresses(web: testing.TestClient) -> None:
    """Addresses in a detail are links, also below a prefix."""
    page = web.simulate_get("/number/10000001", headers={"Accept": BROWSER})
    found = links(page, "http://fib.example/f/number/10000001")
    assert "http://fib.example/f/digits/10000001" in found
    assert "http://fib.example/f/problems/too-large" in found


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        ("Request /fib?start=0&count=10.", ["../fib?start=0&count=10"]),
        ("e.g. /f/fib/10, or /f/g/number/7?mod=5", ["../fib/10", "../number/7?mod=5"]),
        ("/limits has the limits, /digits/{n} the digits", ["../limits"]),
        ("n is '/fib/10x': /fib/1.5, /fib, /fibs/1 and //evil.example/", []),
        ("n is '//evil.example/fib/1'", ["../fib/1"]),
    ],
)
def test_addresses_in_details(detail: str, found: list[str]) -> None:
    """Only complete addresses of this site become links, relative to its root."""
    problem = problem_members(400, detail, "/x", "id")
    html = problem_html(problem, "../", has_reference=False).decode()
    assert Links(html).found[1:] == found


@pytest.mark.parametrize(
    "target",
    ["/%3Cscript%3Ealert(1)%3C/script%3E", "/fib/%22%3E%3Cimg%20src=x%3E", "//evil.example/fib"],
)
def test_pages_escape_requests(web: testing.TestClient, target: str) -> None:
    """Nothing in a request becomes markup or a link to another site."""
    extras = {"RAW_URI": target}
    page = web.simulate_get(target, headers={"Accept": BROWSER}, extras=extras)
    assert not re.search(r"<script>alert|<img", page.text)
    for href in Links(page.text).found:
        assert re.match(r"(\./|\.\./)+[a-z0-9/]*$", href)


def test_head_has_headers_of_get(web: testing.TestClient) -> None:
    """HEAD of an error page has the headers of GET and no body."""
    headers = {"Accept": BROWSER, "X-Request-ID": "a"}
    extras = {"fibweb.request_id": "a"}
    get = web.simulate_get("/nothing", headers=headers, extras=extras)
    head = web.simulate_head("/nothing", headers=headers, extras=extras)
    assert (head.content, head.headers) == (b"", get.headers)


def test_pages_are_compressed(web: testing.TestClient) -> None:
    """An error page is sent compressed to browsers, which accept that."""
    headers = {"Accept": BROWSER, "Accept-Encoding": "gzip"}
    page = web.simulate_get("/nothing", headers=headers)
    assert page.headers["content-encoding"] == "gzip"
    assert len(page.content) < 3500
    assert b"<h1>Not Found</h1>" in gzip.decompress(page.content)


def test_cross_origin_errors_vary_by_both() -> None:
    """With allowed origins, Vary has Accept and Origin."""
    with FibClient("127.0.0.1:1") as client:
        app = create_app(client, allowed_origins=["https://a.example"])
        result = testing.TestClient(app).simulate_get("/nothing")
    assert result.headers["vary"] == "Accept, Accept-Encoding, Origin"


def test_errors_of_the_metrics_listener() -> None:
    """Where only metrics are served, pages link to nothing else."""
    web = testing.TestClient(create_metrics_app({"/metrics": Broken()}))
    page = web.simulate_get("/metric", headers={"Accept": BROWSER})
    assert page.status_code == 404
    assert 'href="./metrics">Try /metrics</a>' in page.text
    assert not re.search('href="[^"]*docs"', page.text)
    assert "link" not in web.simulate_get("/fib/10/").json
