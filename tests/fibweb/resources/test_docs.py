"""Tests for the reference at `/docs`."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

import fibweb
from fibclient import FibClient
from fibweb import create_app
from fibweb.resources.docs_html import as_sent, render_operations
from fibweb.resources.lazy_documents import page_resources
from tests.support.servers import RunningServer

SITE = Path(fibweb.__file__).parent / "site"
MAX_BYTES = 80_000
"""Budget of the document, which is all that a browser loads."""

SHOWN = re.compile(
    r"<summary><code>GET (.*?)</code></summary>\n<pre[^>]*><code>(.*?)</code></pre>", re.S
)


@pytest.fixture(scope="module")
def web(server: RunningServer) -> Iterator[testing.TestClient]:
    """The application with a fibserver and the page."""
    with FibClient(server.address) as client:
        yield testing.TestClient(create_app(client, resources=page_resources()))


@pytest.fixture(scope="module")
def html(web: testing.TestClient) -> str:
    """The reference."""
    return str(web.simulate_get("/docs").text)


def test_every_operation_has_a_section(web: testing.TestClient, html: str) -> None:
    """All operations of the OpenAPI document are there, once, in the order of its tags."""
    document = web.simulate_get("/openapi.json").json
    operations = [methods["get"] for methods in document["paths"].values()]
    tags = [tag["name"] for tag in document["tags"]]
    expected = [
        operation["operationId"]
        for tag in tags
        for operation in operations
        if operation["tags"] == [tag]
    ]
    assert sorted(expected) == sorted(operation["operationId"] for operation in operations)
    assert re.findall(r'class="card operation" id="(\w+)"', html) == expected
    assert "HEAD</span>" not in html
    for name in expected:
        assert f'href="#{name}"' in html


def test_parameters_have_bounds(web: testing.TestClient) -> None:
    """Every parameter has a description and the values that it takes."""
    document = web.simulate_get("/openapi.json").json
    parameters = list(document["components"]["parameters"].values())
    for methods in document["paths"].values():
        parameters += [each for each in methods["get"].get("parameters", []) if "$ref" not in each]
    assert len(parameters) > 15
    for parameter in parameters:
        schema = parameter["schema"]
        is_bounded = "minimum" in schema and "maximum" in schema
        assert "enum" in schema or is_bounded or schema.get("description"), parameter["name"]
    rendered = render_operations(document)
    assert "An integer from 1 to 10,000." in rendered
    assert rendered.count('class="bounds"></span>') == 0


def test_shown_examples_are_real(web: testing.TestClient, html: str) -> None:
    """The shown bodies are those that the server sends, byte by byte but for the request id."""
    shown = SHOWN.findall(html)
    assert len(shown) > 30
    for request, body in shown:
        target, _, header = re.sub("</?small>", "\0", request).partition("\0")
        name, _, value = header.strip("\0").partition(": ")
        result: Any = web.simulate_get(
            unescape(target.strip()),
            headers={name: value} if name else {},
            extras={"fibweb.request_id": "5f2c"},
        )
        assert result.text == unescape(body), request


def test_links_and_anchors_exist(web: testing.TestClient, html: str) -> None:
    """Every link leads to an anchor of the document or to a route."""
    ids = re.findall(r'id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for href in re.findall(r'href="([^"]+)"', html):
        if href.startswith("#"):
            assert href[1:] in ids, href
        else:
            assert web.simulate_get("/" + href.removeprefix("./")).status_code == 200, href


def test_document_is_self_contained(web: testing.TestClient, html: str) -> None:
    """One small document, without third parties, whose inline code the policy allows by hash."""
    assert len(html.encode()) <= MAX_BYTES
    assert not re.search(r'(?:src|href|action)="(?:https?:|//)|\sstyle="|\son[a-z]+="', html)
    policy = web.simulate_get("/docs").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == len(re.findall("<script>|<style>", html))
    assert "src=" not in html.replace("data-src", "")


def test_reference_is_revalidated(web: testing.TestClient) -> None:
    """The reference has an entity tag, and may change with each version."""
    result = web.simulate_get("/docs")
    assert result.headers["content-type"] == "text/html; charset=utf-8"
    assert result.headers["cache-control"] == "no-cache"
    known = web.simulate_get("/docs", headers={"If-None-Match": result.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_the_page_links_to_the_reference(web: testing.TestClient) -> None:
    """The page and the OpenAPI document link to the reference."""
    assert '<a href="docs">' in web.simulate_get("/").text
    assert web.simulate_get("/openapi.json").json["externalDocs"]["url"] == "docs"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0\n1\n", "0\n1\n"),
        ({"N": 2, "result": ["0", "1"]}, '{"N": 2, "result": ["0","1"]}'),
        ({"indices": [1, 2], "below": None}, '{"indices": [1, 2], "below": null}'),
        ({}, "{}"),
    ],
)
def test_examples_as_sent(value: object, text: str) -> None:
    """Examples are encoded as the service encodes them."""
    assert as_sent(value) == text
