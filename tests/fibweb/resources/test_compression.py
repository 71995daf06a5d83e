"""Tests for compressed responses, by Accept-Encoding."""

import gzip
import sys
from collections.abc import Callable
from importlib import import_module

import falcon
import pytest
from falcon import testing

from fibclient import FibClient
from fibweb.app import create_app
from fibweb.http.content_codings import CODINGS
from fibweb.resources.compression import MAX_BYTES, MIN_BYTES, StaticDocument, set_compressed
from fibweb.resources.lazy_documents import page_resources
from fibweb.resources.metrics import MetricsResource
from fibweb.stats.metric_values import MetricValues

STATIC = ("/", "/page/main.js", "/openapi.json", "/problems/too-large")
BEST = CODINGS[0]
"""The coding that is preferred among equals."""


class Dynamic:
    """Resource with content of a size in bytes."""

    def on_get(self, request: falcon.Request, response: falcon.Response, size: str) -> None:
        set_compressed(request, response, b"0123456789" * (int(size) // 10))


@pytest.fixture
def web() -> testing.TestClient:
    """The application, without a fibserver."""
    resources = {**page_resources(), "/dynamic/{size}": Dynamic()}
    return testing.TestClient(create_app(FibClient("127.0.0.1:1"), resources=resources))


@pytest.fixture(params=STATIC)
def get(web: testing.TestClient, request: pytest.FixtureRequest) -> Callable[..., testing.Result]:
    """Function that requests a static document with headers."""

    def get(accept_encoding: str, method: str = "GET", **headers: str) -> testing.Result:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Accept-Encoding"] = accept_encoding
        return web.simulate_request(method, request.param, headers=named)

    return get


def test_static_document_is_compressed(get: Callable[..., testing.Result]) -> None:
    """Each coding has the same content, a tag of its own, and depends on Accept-Encoding."""
    plain, zipped = get("identity"), get("gzip")
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.content) == plain.content
    assert len(zipped.content) < len(plain.content)
    assert zipped.headers["content-length"] == str(len(zipped.content))
    tags = {result.headers["etag"] for result in (plain, *map(get, CODINGS))}
    assert len(tags) == 1 + len(CODINGS)
    assert {result.headers["vary"] for result in (plain, zipped)} == {"Accept-Encoding"}
    assert get("gzip", "HEAD").headers == zipped.headers
    assert get("gzip").content == zipped.content


@pytest.mark.skipif("zstd" not in CODINGS, reason="Python before 3.14, without backports.zstd")
def test_static_document_by_zstd(get: Callable[..., testing.Result]) -> None:
    """A client that accepts both gets zstd, which is smaller or faster."""
    result = get("gzip, zstd")
    assert result.headers["content-encoding"] == "zstd"
    zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    assert zstd.decompress(result.content) == get("identity").content


def test_conditional_requests_for_each_coding(get: Callable[..., testing.Result]) -> None:
    """304 is for a client that has the coding it would get, also by a weak tag of a proxy."""
    plain, zipped = get("identity").headers["etag"], get("gzip").headers["etag"]
    for tag in (zipped, f"W/{zipped}", f'"other", {zipped}', "*"):
        known = get("gzip", If_None_Match=tag)
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == zipped
        assert known.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in known.headers
    assert get("gzip", If_None_Match=plain).status_code == 200
    assert get("identity", If_None_Match=plain).status_code == 304
    assert get("identity", If_None_Match=zipped).status_code == 200


def test_if_match_for_each_coding(get: Callable[..., testing.Result]) -> None:
    """If-Match must list the tag of the coding that the client would get, or it is 412."""
    plain, zipped = get("identity").headers["etag"], get("gzip").headers["etag"]
    for listed in (zipped, f'"other", {zipped}', "*"):
        assert get("gzip", If_Match=listed).content == get("gzip").content
    for method, other in (("GET", plain), ("HEAD", '"other"'), ("GET", f"W/{zipped}")):
        failed = get("gzip", method, If_Match=other, If_None_Match=zipped)
        assert failed.status_code == 412
        assert failed.headers["cache-control"] == "no-store"
        assert "etag" not in failed.headers
        assert failed.headers["content-type"] == "application/problem+json"
    assert plain in get("identity", If_Match=zipped).json["detail"]


def test_ranges_of_documents_are_ignored(get: Callable[..., testing.Result]) -> None:
    """A range never selects bytes of a document, so no client joins those of two codings."""
    zipped = get("gzip", Range="bytes=0-9")
    assert zipped.status_code == 200
    assert zipped.content == get("gzip").content
    assert "accept-ranges" not in zipped.headers


@pytest.mark.parametrize(
    ("size", "accept_encoding", "coding"),
    [
        (1000, "", None),
        (1000, "gzip", "gzip"),
        (1000, "deflate, gzip;q=0.5, *;q=0", "gzip"),
        (1000, "*", BEST),
        (MIN_BYTES - 10, "gzip", None),
        (MAX_BYTES + 10, "gzip", None),
    ],
)
def test_changing_content_is_compressed_if_it_pays(
    web: testing.TestClient, size: int, accept_encoding: str, coding: str | None
) -> None:
    """Content that is sent once is compressed within bounds."""
    result = web.simulate_get(f"/dynamic/{size}", headers={"Accept-Encoding": accept_encoding})
    assert result.headers.get("content-encoding") == coding
    assert result.headers["vary"] == "Accept-Encoding"
    if coding is None:
        assert len(result.content) == size // 10 * 10
    elif coding == "gzip":
        assert gzip.decompress(result.content) == b"0123456789" * (size // 10)


def test_document_that_compression_enlarges() -> None:
    """A document that no coding makes smaller has none."""
    app = falcon.App()
    document = StaticDocument(b"1", "text/plain", {})

    class Tiny:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            document.respond(request, response)

    app.add_route("/", Tiny())
    result = testing.TestClient(app).simulate_get("/", headers={"Accept-Encoding": "gzip"})
    assert (result.content, result.headers.get("content-encoding")) == (b"1", None)


def test_metrics_are_compressed() -> None:
    """A scrape that accepts gzip gets it."""
    app = falcon.App()
    app.add_route("/metrics", MetricsResource(lambda: MetricValues({}, {})))
    client = testing.TestClient(app)
    plain, zipped = (
        client.simulate_get("/metrics", headers={"Accept-Encoding": coding})
        for coding in ("identity", "gzip")
    )
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.content) == plain.content
